//! The scenario files: what they say, `for` lines expanded. Nothing here knows noex.

use std::collections::HashMap;

/// One scenario, as both sides play it.
#[derive(Debug, Default)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Who there is: actors by name.
    pub(crate) actors: HashMap<String, Actor>,
    /// Actors whose traces are one: OTP promises the order of what they do.
    pub(crate) order: Vec<Vec<String>>,
    pub(crate) steps: Vec<String>,
    /// The row of docs/departures.md that this scenario shows.
    pub(crate) departs: Option<String>,
    /// Lines of OTP's trace, and what stands there in noex's.
    pub(crate) differ: Vec<(String, Vec<String>)>,
    /// Its text, for Erlang.
    pub(crate) text: String,
}

/// An actor as it is declared: its line in words, and what it does when.
#[derive(Debug, Default, Clone)]
pub(crate) struct Actor {
    /// `process`, `server`, `supervisor`, .., and what follows.
    pub(crate) kind: Vec<String>,
    /// Restart and shutdown, of a child.
    pub(crate) child: Option<(String, String)>,
    /// A child whose end may end its supervisor.
    pub(crate) significant: bool,
    /// Which ends do that, of a supervisor.
    pub(crate) auto_shutdown: Option<String>,
    /// Programs by the event they answer.
    on: HashMap<String, Program>,
}

/// Commands, in words.
pub(crate) type Program = Vec<Vec<String>>;

impl Actor {
    /// What it does when `event` happens to its `number`th incarnation.
    pub(crate) fn on(&self, event: &str, number: usize) -> Program {
        self.says(event, number).unwrap_or_default()
    }

    /// The same; `None`: nothing is said of that.
    pub(crate) fn says(&self, event: &str, number: usize) -> Option<Program> {
        let program = self
            .on
            .get(&format!("{event}#{number}"))
            .or_else(|| self.on.get(event));
        program.cloned()
    }

    /// Whether it answers the call `text` later, or by hand.
    pub(crate) fn defers(&self, text: &str) -> bool {
        let program = self.on.get(&format!("call {text}"));
        program.is_some_and(|program| program.iter().any(|command| command[0] == "defer"))
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.first().is_some_and(|word| word == kind)
    }

    /// Whether its own code says who it is when it starts.
    pub(crate) fn speaks(&self) -> bool {
        self.is("process") || self.is("server")
    }

    /// The name it is registered under.
    pub(crate) fn registered(&self) -> Option<&str> {
        match &self.kind[..] {
            [_, .., named, name] if named == "named" => Some(name),
            _ => None,
        }
    }
}

pub(crate) fn program(text: &str) -> Program {
    let commands = text.split(';').map(words);
    commands.filter(|command| !command.is_empty()).collect()
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}

/// All scenarios of a file.
pub(crate) fn scenarios(file: &str) -> Vec<Scenario> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in file.lines() {
        let line = line.trim_end();
        if line.starts_with("== ") {
            blocks.push(vec![line]);
        } else if !line.is_empty() && !line.starts_with('#') {
            blocks.last_mut().expect("a name first").push(line);
        }
    }
    blocks
        .iter()
        .flat_map(|block| expand(block))
        .map(|lines| read(&lines))
        .collect()
}

/// The block once for each combination of what its `for` lines say: `for VAR: value | title => value`.
fn expand(block: &[&str]) -> Vec<Vec<String>> {
    let (vars, lines): (Vec<&str>, Vec<&str>) =
        block.iter().partition(|line| line.starts_with("for "));
    let mut all = vec![
        lines
            .iter()
            .map(|line| line.to_string())
            .collect::<Vec<_>>(),
    ];
    for var in vars {
        let (name, values) = var["for ".len()..]
            .split_once(':')
            .expect("for VAR: values");
        let hole = format!("{{{name}}}");
        all = values
            .split('|')
            .flat_map(|value| {
                let (title, code) = value.split_once("=>").unwrap_or((value, value));
                let fill = |lines: &Vec<String>| {
                    let mut filled: Vec<String> = lines
                        .iter()
                        .map(|line| line.replace(&hole, code.trim()))
                        .collect();
                    filled[0] = lines[0].replace(&hole, title.trim());
                    filled
                };
                all.iter().map(fill).collect::<Vec<_>>()
            })
            .collect();
    }
    all
}

fn read(lines: &[String]) -> Scenario {
    let mut scenario = Scenario {
        name: lines[0]["== ".len()..].to_string(),
        text: lines.join("\n"),
        ..Scenario::default()
    };
    let mut last = String::new();
    for line in &lines[1..] {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match first {
            "" => {
                let (event, commands) = line.split_once(':').expect("EVENT: commands");
                let actor = scenario.actors.get_mut(&last).expect("an actor first");
                actor.on.insert(event.trim().to_string(), program(commands));
            }
            "process"
            | "server"
            | "agent"
            | "supervisor"
            | "dynamic_supervisor"
            | "task_supervisor"
            | "partition_supervisor"
            | "manager"
            | "handler"
            | "machine"
            | "child" => {
                let mut words = words(rest);
                last = words.remove(0);
                let mut actor = Actor::default();
                if first == "child" {
                    let shutdown = words.remove(1);
                    actor.child = Some((words.remove(0), shutdown));
                    if words.first().is_some_and(|word| word == "significant") {
                        actor.significant = true;
                        words.remove(0);
                    }
                    if words.is_empty() {
                        words.push("server".to_string());
                    }
                } else {
                    words.insert(0, first.to_string());
                }
                if words.get(4).is_some_and(|word| word == "auto_shutdown") {
                    actor.auto_shutdown = Some(words.remove(5));
                    words.remove(4);
                }
                actor.kind = words;
                scenario.actors.insert(last.clone(), actor);
            }
            "order" => scenario.order.push(words(rest)),
            "departs" => scenario.departs = Some(rest.to_string()),
            "otp" => scenario.differ.push((rest.to_string(), Vec::new())),
            "noex" => {
                let (_, here) = scenario.differ.last_mut().expect("an otp line first");
                here.push(rest.to_string());
            }
            _ => scenario.steps.push(line.clone()),
        }
    }
    partitions(&mut scenario.actors);
    scenario
}

/// Makes the partitions of a supervisor actors, each as its child is declared: `p0`, `p1`, ..
fn partitions(actors: &mut HashMap<String, Actor>) {
    let mut made = Vec::new();
    for actor in actors.values() {
        if let [kind, _, _, _, count, child] = &actor.kind[..] {
            if kind == "partition_supervisor" {
                let count: usize = count.parse().expect("a number of partitions");
                let name = |n| format!("{child}{n}");
                made.extend((0..count).map(|n| (name(n), actors[child].clone())));
            }
        }
    }
    actors.extend(made);
}
