//! noex's side of a sequence of operations on one table.

use std::ops::Range;

use noex::ets::{
    Bag, CounterUpdate, DuplicateBag, Finds, Fixed, Increment, Keeps, OrderedSet, Pages, Replaces,
    Set, TableKind, TableType, Unique,
};
use noex::prelude::*;
use noex::{Table, TableError};

/// What is under a key.
pub(crate) type Value = (i64, i64);
/// An object.
type Object = (i64, i64, i64);
type Answer = Result<String, TableError>;
type Select = Box<dyn FnMut(&i64, &Value) -> Option<Object>>;

/// How an answer is written.
pub(crate) trait Show {
    fn show(&self) -> String;
}

impl Show for i64 {
    fn show(&self) -> String {
        self.to_string()
    }
}
impl Show for Object {
    fn show(&self) -> String {
        format!("{}:{}:{}", self.0, self.1, self.2)
    }
}
impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        format!(
            "[{}]",
            self.iter().map(T::show).collect::<Vec<_>>().join(" ")
        )
    }
}

/// What a look-up found, as a list of values.
pub(crate) trait Found {
    fn values(self) -> Vec<Value>;
}
impl Found for Option<Value> {
    fn values(self) -> Vec<Value> {
        self.into_iter().collect()
    }
}
impl Found for Vec<Value> {
    fn values(self) -> Vec<Value> {
        self
    }
}

fn n(word: &str) -> i64 {
    word.parse().expect("a number")
}

fn numbers(word: &str) -> Vec<i64> {
    word.split(':').map(n).collect()
}

fn object(word: &str) -> (i64, Value) {
    match *numbers(word) {
        [k, a, b] => (k, (a, b)),
        _ => panic!("no object: {word}"),
    }
}

fn objects(words: &[&str]) -> Vec<(i64, Value)> {
    words.iter().map(|word| object(word)).collect()
}

fn flat(key: &i64, value: &Value) -> Object {
    (*key, value.0, value.1)
}

/// The part of a value that OTP's position says; the key is the first.
fn part(at: i64) -> fn(&mut Value) -> &mut i64 {
    match at {
        2 => |value| &mut value.0,
        3 => |value| &mut value.1,
        _ => panic!("no such element"),
    }
}

/// What is added to which part.
fn counter(word: &str) -> (i64, Increment) {
    match *numbers(word) {
        [at, by] => (at, by.into()),
        [at, by, threshold, to] => (at, Increment::by(by).threshold(threshold, to)),
        _ => panic!("no counter operation: {word}"),
    }
}

fn counters(words: &[&str]) -> Vec<CounterUpdate<Value>> {
    let update = |word: &&str| {
        let (at, increment) = counter(word);
        CounterUpdate::new(part(at), increment)
    };
    words.iter().map(update).collect()
}

fn sums(sums: Vec<i128>) -> String {
    let sums: Vec<i64> = sums.into_iter().map(|sum| sum as i64).collect();
    sums.show()
}

/// A table, and what a sequence has under way with it.
struct Side<Kind: TableKind> {
    table: Table<i64, Value, Kind>,
    fixed: Vec<Fixed>,
    pages: Option<Pages<i64, Value, Kind, Object, Select>>,
}

impl<Kind> Side<Kind>
where
    Kind: Finds<i64, Value, i64> + Keeps<i64, Value>,
    Kind::Found<Value>: Found,
    Kind::Element<i64>: Show,
{
    const ORDERED: bool = matches!(Kind::TYPE, TableType::OrderedSet);

    fn new(system: &System) -> Self {
        Side {
            table: system.table(Table::builder()).expect("a table"),
            fixed: Vec::new(),
            pages: None,
        }
    }

    /// All of something: in their order, or sorted where there is none.
    fn all<T: Ord + Show>(mut all: Vec<T>) -> String {
        if !Self::ORDERED {
            all.sort();
        }
        all.show()
    }

    fn found(key: i64, found: Kind::Found<Value>) -> String {
        let values = found.values();
        let objects: Vec<Object> = values.iter().map(|value| flat(&key, value)).collect();
        objects.show()
    }

    fn key(key: Option<i64>) -> String {
        match key {
            None => "end".to_owned(),
            Some(key) if Self::ORDERED => key.show(),
            Some(_) => "a key".to_owned(),
        }
    }

    fn step(key: Option<i64>) -> String {
        match Self::ORDERED {
            true => Self::key(key),
            false => "known".to_owned(),
        }
    }

    fn walk(
        &self,
        mut visit: impl FnMut(i64) -> Result<(), TableError>,
    ) -> Result<Vec<i64>, TableError> {
        let mut keys = Vec::new();
        let mut at = self.table.first()?;
        while let Some(key) = at {
            visit(key)?;
            keys.push(key);
            at = self.table.next(&key)?;
        }
        Ok(keys)
    }

    fn page(&mut self) -> Answer {
        let Some(pages) = &mut self.pages else {
            return Ok("end".to_owned());
        };
        Ok(pages.next_page()?.map_or("end".to_owned(), Self::all))
    }

    /// What every kind can do; `None`: it is something else.
    fn act(&mut self, words: &[&str]) -> Option<Answer> {
        let table = &self.table;
        let ok = |()| "ok".to_owned();
        let above = |least: &str| {
            let least = n(least);
            move |_: &i64, value: &Value| value.0 > least
        };
        let objects_above = |least: &str| {
            let wanted = above(least);
            move |key: &i64, value: &Value| wanted(key, value).then(|| flat(key, value))
        };
        Some(match *words {
            ["insert", it] => {
                let (key, value) = object(it);
                table.insert(key, value).map(ok)
            }
            ["insert_many", ref all @ ..] => table.insert_many(objects(all)).map(ok),
            ["insert_new", it] => {
                let (key, value) = object(it);
                table.insert_new(key, value).map(|new| new.to_string())
            }
            ["insert_new_many", ref all @ ..] => table
                .insert_new_many(objects(all))
                .map(|new| new.to_string()),
            ["fill", from, count, step] => {
                let all = (0..n(count)).map(|i| (n(from) + i * n(step), (i % 5, 0)));
                table.insert_many(all).map(ok)
            }
            ["lookup", key] => table
                .lookup(&n(key))
                .map(|found| Self::found(n(key), found)),
            ["lookup_element", key, at] => {
                let element =
                    table.lookup_element(&n(key), |value| *part(n(at))(&mut value.clone()));
                element.map(|element| element.show())
            }
            ["member", key] => table.member(&n(key)).map(|there| there.to_string()),
            ["delete", key] => table.delete(&n(key)).map(|there| there.to_string()),
            ["delete_object", it] => {
                let (key, value) = object(it);
                table
                    .delete_object(&key, &value)
                    .map(|count| count.to_string())
            }
            ["take", key] => table.take(&n(key)).map(|found| Self::found(n(key), found)),
            ["select", least] => table.select(objects_above(least)).map(Self::all),
            ["match", a] => {
                let all = table.match_object(|_, value| value.0 == n(a));
                all.map(|all| Self::all(all.iter().map(|(key, value)| flat(key, value)).collect()))
            }
            ["match_key", key, b] => {
                let wanted = |at: &i64, value: &Value| *at == n(key) && value.1 == n(b);
                let all = table.select(|key, value| wanted(key, value).then(|| flat(key, value)));
                all.map(Self::all)
            }
            ["pages", limit, least] => {
                let pages = table.select_pages(n(limit) as usize, objects_above(least));
                pages.collect::<Result<Vec<_>, _>>().map(|pages| {
                    let sizes: String = pages
                        .iter()
                        .map(|page| format!("{} ", page.len()))
                        .collect();
                    sizes + &Self::all(pages.concat())
                })
            }
            ["page", limit, least] => {
                let select: Select = Box::new(objects_above(least));
                self.pages = Some(table.select_pages(n(limit) as usize, select));
                self.page()
            }
            ["page"] => self.page(),
            ["select_count", least] => table.select_count(above(least)).map(|n| n.to_string()),
            ["select_delete", least] => table.select_delete(above(least)).map(|n| n.to_string()),
            ["foldl"] => {
                let fold = |mut all: Vec<Object>, key: &i64, value: &Value| {
                    all.push(flat(key, value));
                    all
                };
                table.foldl(Vec::new(), fold).map(Self::all)
            }
            ["foldr"] => {
                let fold = |mut all: Vec<Object>, key: &i64, value: &Value| {
                    all.push(flat(key, value));
                    all
                };
                table.foldr(Vec::new(), fold).map(Self::all)
            }
            ["to_list"] => table
                .to_list()
                .map(|all| Self::all(all.iter().map(|(key, value)| flat(key, value)).collect())),
            ["size"] => table.info().map(|info| info.size.to_string()),
            ["delete_all"] => table.delete_all().map(ok),
            ["first"] => table.first().map(Self::key),
            ["last"] => table.last().map(Self::key),
            ["next", key] => table.next(&n(key)).map(Self::step),
            ["prev", key] => table.prev(&n(key)).map(Self::step),
            ["walk"] => self.walk(|_| Ok(())).map(Self::all),
            ["walk_deleting", every] => table.fix().and_then(|_fixed| {
                let delete = |key: i64| match key % n(every) {
                    0 => table.delete(&key).map(drop),
                    _ => Ok(()),
                };
                self.walk(delete).map(Self::all)
            }),
            ["fix"] => table.fix().map(|fixed| {
                self.fixed.push(fixed);
                "ok".to_owned()
            }),
            ["unfix"] => {
                drop(self.fixed.pop());
                Ok("ok".to_owned())
            }
            _ => return None,
        })
    }

    /// What only some kinds can do.
    fn act_replacing(&mut self, words: &[&str]) -> Option<Answer>
    where
        Kind: Replaces,
    {
        let ["select_replace", least, by] = *words else {
            return self.act(words);
        };
        let replace = |value: &Value| (value.0, value.1 + n(by));
        let replaced = self
            .table
            .select_replace(|_, value| (value.0 > n(least)).then(|| replace(value)));
        Some(replaced.map(|count| count.to_string()))
    }

    fn act_unique(&mut self, words: &[&str]) -> Option<Answer>
    where
        Kind: Unique<i64, Value> + Replaces,
    {
        let table = &self.table;
        Some(match *words {
            ["update_element", key, one] => {
                let (at, to) = one.split_once(':').expect("a place and a value");
                let updated = table.update_element(&n(key), part(n(at)), n(to));
                updated.map(|there| there.to_string())
            }
            ["update_element", key, ref parts @ ..] => {
                let update = |value: &mut Value| {
                    for (at, to) in parts.iter().filter_map(|part| part.split_once(':')) {
                        *part(n(at))(value) = n(to);
                    }
                };
                let updated = table.update(&n(key), update);
                updated.map(|there| there.is_some().to_string())
            }
            ["update_element_or", it, at, to] => {
                let (key, default) = object(it);
                let updated = table.update_element_or(key, default, part(n(at)), n(to));
                updated.map(|()| "ok".to_owned())
            }
            ["update_counter", key, it] => {
                let (at, by) = counter(it);
                table
                    .update_counter(&n(key), part(at), by)
                    .map(|sum| sum.show())
            }
            ["update_counter_or", default, it] => {
                let ((key, default), (at, by)) = (object(default), counter(it));
                let sum = table.update_counter_or(key, default, part(at), by);
                sum.map(|sum| sum.show())
            }
            ["update_counters", key, ref all @ ..] => {
                table.update_counters(&n(key), counters(all)).map(sums)
            }
            ["update_counters_or", default, ref all @ ..] => {
                let (key, default) = object(default);
                table
                    .update_counters_or(key, default, counters(all))
                    .map(sums)
            }
            _ => return self.act_replacing(words),
        })
    }
}

impl Side<OrderedSet> {
    fn act_ordered(&mut self, words: &[&str]) -> Option<Answer> {
        let flatten = |all: Vec<(i64, Value)>| -> String {
            let all: Vec<Object> = all.iter().map(|(key, value)| flat(key, value)).collect();
            all.show()
        };
        Some(match *words {
            ["range", from, to] => {
                let keys = Range {
                    start: n(from),
                    end: n(to),
                };
                self.table.range(keys).map(flatten)
            }
            ["range_back", from, to] => self.table.range_back(n(from)..=n(to)).map(flatten),
            _ => return self.act_unique(words),
        })
    }
}

/// What noex answers to the operations after `new`.
fn play(operations: &[String], mut act: impl FnMut(&[&str]) -> Option<Answer>) -> Vec<String> {
    let answer = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match act(&words).unwrap_or_else(|| panic!("no operation: {line}")) {
            Ok(answer) => answer,
            Err(TableError::BadKey) => "badarg".to_owned(),
            Err(other) => other.to_string(),
        }
    };
    operations.iter().map(answer).collect()
}

/// What noex answers to a sequence.
pub(crate) fn noex(system: &System, operations: &[String]) -> Vec<String> {
    let (first, rest) = operations.split_first().expect("an operation");
    let mut answers = vec!["new".to_owned()];
    answers.extend(match first.as_str() {
        "new set" => {
            let mut side = Side::<Set>::new(system);
            play(rest, |words| side.act_unique(words))
        }
        "new ordered_set" => {
            let mut side = Side::<OrderedSet>::new(system);
            play(rest, |words| side.act_ordered(words))
        }
        "new bag" => {
            let mut side = Side::<Bag>::new(system);
            play(rest, |words| side.act(words))
        }
        "new duplicate_bag" => {
            let mut side = Side::<DuplicateBag>::new(system);
            play(rest, |words| side.act_replacing(words))
        }
        other => panic!("a sequence begins with new, not {other}"),
    });
    answers
}
