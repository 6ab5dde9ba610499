//! noex's side of the scenes: people, who are servers, and their tables.

use std::collections::HashMap;

use noex::ets::{Access, Fixed, Set, Transfer};
use noex::prelude::*;
use noex::{Down, Driver, Table, TableError};

use crate::support;

type Numbers = Table<i64, i64>;
type Gift = Transfer<i64, i64, Set, i64>;

/// Runs what it is told to as itself, and collects what else it is sent.
#[derive(Default)]
struct Person {
    mail: Vec<Letter>,
    fixed: Vec<Fixed>,
}

enum Letter {
    Gift(Gift),
    Down(Down),
}

type Deed = dyn FnOnce(&mut Person, &mut Context<Person>) -> Result<String, TableError> + Send;
struct Do(Box<Deed>);
struct Mail;
struct Finish(ExitReason);

impl GenServer for Person {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Person::default())
    }
    async fn handle_down(&mut self, down: Down, _: &mut Context<Self>) {
        self.mail.push(Letter::Down(down));
    }
}

impl HandleCall<Do> for Person {
    type Reply = Result<String, TableError>;
    async fn handle_call(&mut self, Do(deed): Do, cx: &mut Context<Self>) -> Self::Reply {
        deed(self, cx)
    }
}

impl HandleCall<Mail> for Person {
    type Reply = Vec<Letter>;
    async fn handle_call(&mut self, _: Mail, _: &mut Context<Self>) -> Vec<Letter> {
        std::mem::take(&mut self.mail)
    }
}

impl HandleInfo<Finish> for Person {
    async fn handle_info(&mut self, Finish(reason): Finish, cx: &mut Context<Self>) {
        cx.stop(reason);
    }
}

impl HandleInfo<Gift> for Person {
    async fn handle_info(&mut self, gift: Gift, _: &mut Context<Self>) {
        self.mail.push(Letter::Gift(gift));
    }
}

fn n(word: &str) -> i64 {
    word.parse().expect("a number")
}

fn answer(result: Result<impl ToString, TableError>) -> String {
    result.map_or("badarg".to_owned(), |answer| answer.to_string())
}

fn show(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Killed => "killed",
        ExitReason::NoProc => "noproc",
        _ => "crash",
    }
}

struct Scene {
    system: System,
    driver: Driver,
    people: Vec<ServerRef<Person>>,
    names: HashMap<Pid, String>,
    tables: HashMap<String, Numbers>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let (system, driver) = support::quiet().virtual_clock().seed(seed).manual();
        let mut scene = Scene {
            people: Vec::new(),
            names: HashMap::new(),
            tables: HashMap::new(),
            system,
            driver,
        };
        scene.people = (0..4).map(|number| scene.start(number)).collect();
        scene
    }

    fn start(&mut self, number: usize) -> ServerRef<Person> {
        let person = self.system.start::<Person>(()).wait().expect("a start");
        self.names.insert(person.pid(), format!("p{number}"));
        person
    }

    fn person(&self, name: &str) -> &ServerRef<Person> {
        &self.people[n(&name[1..]) as usize]
    }

    fn name(&self, pid: Pid) -> String {
        self.names[&pid].clone()
    }

    fn table(&self, table: &Numbers) -> String {
        let found = self.tables.iter().find(|(_, other)| *other == table);
        found.expect("a table of the scene").0.clone()
    }

    /// What somebody answers who does this.
    fn ask(
        &self,
        person: &str,
        deed: impl FnOnce(&mut Person, &mut Context<Person>) -> Result<String, TableError>
        + Send
        + 'static,
    ) -> String {
        match self.person(person).call(Do(Box::new(deed))).wait() {
            Ok(result) => answer(result),
            Err(_) => "dead".to_owned(),
        }
    }

    fn new_table(&mut self, person: &str, name: &str, options: &[&str]) -> String {
        let mut builder = Table::builder();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            builder = match *option {
                "named" => builder.named(name),
                "public" => builder.access(Access::Public),
                "protected" => builder.access(Access::Protected),
                "private" => builder.access(Access::Private),
                "heir" => {
                    let (heir, data) = (options.next().expect("an heir"), options.next());
                    builder.heir(self.person(heir), n(data.expect("its data")))
                }
                other => panic!("no option: {other}"),
            };
        }
        let (tell, told) = support::reports();
        let answer = self.ask(person, move |_, cx| {
            builder.build(cx).map(|table| {
                tell.send(table).expect("the test waits");
                "ok".to_owned()
            })
        });
        self.tables
            .extend(told.try_iter().map(|table| (name.to_owned(), table)));
        answer
    }

    fn act(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["whereis", name] => {
                let found = self.system.table_named::<i64, i64, Set>(name);
                found.map_or("nothing".to_owned(), |table| self.table(&table))
            }
            ["kill", person] => {
                self.system
                    .exit(self.person(person).pid(), ExitReason::Kill);
                self.driver.run_until_idle();
                "dead".to_owned()
            }
            ["start", person] => {
                let number = n(&person[1..]) as usize;
                self.people[number] = self.start(number);
                "ok".to_owned()
            }
            [person, how @ ("ends" | "crashes")] => {
                let reason = match how {
                    "ends" => ExitReason::Normal,
                    _ => ExitReason::error(std::fmt::Error),
                };
                // Dead already, perhaps.
                let _sent = self.person(person).send(Finish(reason));
                self.driver.run_until_idle();
                "dead".to_owned()
            }
            [person, "mail"] => {
                let Ok(mail) = self.person(person).call(Mail).wait() else {
                    return "dead".to_owned();
                };
                let letter = |letter: &Letter| match letter {
                    Letter::Gift(gift) => format!(
                        "transfer {} {} {}",
                        self.table(&gift.table),
                        self.name(gift.from),
                        gift.data
                    ),
                    Letter::Down(down) => {
                        format!("down {} {}", self.name(down.pid), show(&down.reason))
                    }
                };
                format!(
                    "[{}]",
                    mail.iter().map(letter).collect::<Vec<_>>().join(", ")
                )
            }
            [person, "watch", ref others @ ..] => {
                let others: Vec<Pid> = others.iter().map(|it| self.person(it).pid()).collect();
                self.ask(person, move |_, cx| {
                    for pid in others {
                        cx.monitor(pid);
                    }
                    Ok("ok".to_owned())
                })
            }
            [person, "new", name, ref options @ ..] => self.new_table(person, name, options),
            [person, what, table, ref words @ ..] => {
                let table = self.tables.get(table).expect("a table").clone();
                self.with(person, what, table, words)
            }
            _ => panic!("no line: {line}"),
        }
    }

    /// Somebody does something with a table.
    fn with(&self, person: &str, what: &str, table: Numbers, words: &[&str]) -> String {
        fn done(result: Result<(), TableError>) -> Result<String, TableError> {
            result.map(|()| "true".to_owned())
        }
        let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        match (what, words) {
            ("insert", _) => self.ask(person, move |_, _| {
                done(table.insert(numbers[0], numbers[1]))
            }),
            ("lookup", _) => self.ask(person, move |_, _| {
                let found = table.lookup(&numbers[0])?;
                Ok(format!(
                    "[{}]",
                    found.map_or(String::new(), |it| it.to_string())
                ))
            }),
            ("next", _) => self.ask(person, move |_, _| {
                table.next(&numbers[0]).map(|_| "known".to_owned())
            }),
            ("delete", [_]) => self.ask(person, move |_, _| {
                table.delete(&numbers[0]).map(|_| "true".to_owned())
            }),
            ("delete", _) => self.ask(person, move |_, _| done(table.delete_table())),
            ("delete_all", _) => self.ask(person, move |_, _| done(table.delete_all())),
            ("rename", [name]) => {
                let name = name.to_string();
                self.ask(person, move |_, _| done(table.rename(name)))
            }
            ("fix", _) => self.ask(person, move |person, _| {
                person.fixed.push(table.fix()?);
                Ok("true".to_owned())
            }),
            ("give_away", [to, data]) => {
                let (to, data) = (self.person(to).clone(), n(data));
                self.ask(person, move |_, _| done(table.give_away(&to, data)))
            }
            ("heir", ["none"]) => self.ask(person, move |_, _| done(table.clear_heir())),
            ("heir", [to, data]) => {
                let (to, data) = (self.person(to).clone(), n(data));
                self.ask(person, move |_, _| done(table.set_heir(&to, data)))
            }
            ("info", _) if !self.person(person).is_alive() => "dead".to_owned(),
            ("info", [what]) => {
                let Ok(info) = table.info() else {
                    return "badarg".to_owned();
                };
                let person = |pid: Option<Pid>| pid.map_or("none".to_owned(), |pid| self.name(pid));
                match *what {
                    "size" => info.size.to_string(),
                    "owner" => person(info.owner),
                    "heir" => person(info.heir),
                    "fixed" => (!info.fixed.is_empty()).to_string(),
                    "named_table" => info.name.is_some().to_string(),
                    "protection" => format!("{:?}", info.access).to_lowercase(),
                    other => panic!("no information: {other}"),
                }
            }
            _ => panic!("nothing to do with a table: {what}"),
        }
    }
}

/// What noex answers to the lines of all scenes.
pub(crate) fn noex(lines: &[String]) -> Vec<String> {
    let mut scene = Scene::new(0);
    let mut scenes = 0;
    let mut answers = Vec::new();
    for line in lines {
        answers.push(if line.starts_with("==") {
            scenes += 1;
            scene = Scene::new(scenes);
            "==".to_owned()
        } else {
            scene.act(line)
        });
    }
    answers
}
