//! noex's side of a sequence of operations on one dynamic table, and what operations there are.
//!
//! An operation is a term, `{select,[..]}`, as OTP's side takes it; so is an answer: what OTP's function of the
//! name returns, or `badarg`.

use noex::ets::{CounterOp, Increment, MatchPattern, MatchSpec, TableType};
use noex::prelude::*;
use noex::{Term, TermTable};

/// `badarg`.
pub(crate) struct Refused;

impl From<noex::TableError> for Refused {
    fn from(_: noex::TableError) -> Self {
        Refused
    }
}
impl From<noex::ets::MatchSpecError> for Refused {
    fn from(_: noex::ets::MatchSpecError) -> Self {
        Refused
    }
}

/// Chooses at random.
pub(crate) struct Dice {
    state: u64,
    /// Objects that it made.
    made: Vec<Term>,
}

fn atom(name: &str) -> Term {
    Term::atom(name)
}

fn tuple<const N: usize>(parts: [Term; N]) -> Term {
    Term::tuple(parts)
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice {
            state: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            made: Vec::new(),
        }
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 33) as usize % sides
    }

    fn of<T: Clone>(&mut self, these: &[T]) -> T {
        these[self.roll(these.len())].clone()
    }

    fn number(&mut self) -> Term {
        const BIG: i64 = 1 << 53;
        match self.roll(8) {
            0..=3 => Term::from(self.roll(4) as i64 - 1),
            4..=6 => Term::from(self.roll(7) as f64 / 2.0 - 1.0),
            _ if self.roll(2) == 0 => Term::from(self.of(&[BIG, BIG + 1, -BIG - 1])),
            _ => Term::from(self.of(&[BIG as f64, 1.0e300, -(BIG as f64)])),
        }
    }

    fn flat(&mut self) -> Term {
        match self.roll(6) {
            0..=2 => self.number(),
            3 => atom(["a", "b", "ab", "A b", "true"][self.roll(5)]),
            4 => Term::from(["", "a", "ab"][self.roll(3)]),
            _ => Term::binary(vec![self.of(&[0, 97, 255])]),
        }
    }

    /// A term out of few, so that many are the same, or by `==` alone.
    fn term(&mut self, depth: usize) -> Term {
        if depth == 0 || self.roll(3) > 0 {
            return self.flat();
        }
        let parts = self.roll(3);
        match self.roll(3) {
            0 => Term::tuple((0..parts).map(|_| self.term(depth - 1)).collect::<Vec<_>>()),
            1 => Term::list((0..parts).map(|_| self.term(depth - 1)).collect::<Vec<_>>()),
            _ => {
                let entry = |_| (self.term(depth - 1), self.term(depth - 1));
                Term::map((0..parts).map(entry).collect::<Vec<_>>())
            }
        }
    }

    /// A map that is so large that OTP keeps it in another way.
    fn large_map(&mut self) -> Term {
        let key = |dice: &mut Self, n: i64| match dice.roll(12) {
            0 => Term::from(n as f64),
            1 => Term::from(n + 1000),
            _ => Term::from(n),
        };
        let entries: Vec<_> = (0..34)
            .map(|n| (key(self, n), Term::from((self.roll(20) / 19) as i64)))
            .collect();
        Term::map(entries)
    }

    fn key(&mut self) -> Term {
        match self.roll(10) {
            0..=2 => Term::from(self.roll(3) as i64),
            3..=5 => Term::from(self.roll(3) as f64),
            6 => atom(["a", "b"][self.roll(2)]),
            7 => tuple([self.of(&[1.into(), 1.0.into()]), atom("a")]),
            8 => Term::list([self.of(&[Term::from(2), 2.0.into()])]),
            _ => Term::map([(self.of(&[Term::from(1), 1.0.into()]), self.roll(2) as i64)]),
        }
    }

    fn value(&mut self) -> Term {
        match self.roll(8) {
            0..=4 => Term::from(self.roll(3) as i64),
            _ => self.term(2),
        }
    }

    /// An object, as a list of its elements.
    fn elements(&mut self, keypos: usize) -> Vec<Term> {
        let size = match self.roll(30) {
            0 => 1,
            1 => 5,
            _ => 3,
        };
        let element = |n| {
            if n == keypos {
                self.key()
            } else {
                self.value()
            }
        };
        (1..=size).map(element).collect()
    }

    fn object(&mut self, keypos: usize) -> Term {
        match self.roll(60) {
            0 => self.flat(),
            _ => {
                let object = Term::tuple(self.elements(keypos));
                self.made.push(object.clone());
                object
            }
        }
    }

    /// Perhaps one that is there.
    fn known_object(&mut self, keypos: usize) -> Term {
        if self.made.is_empty() || self.roll(6) == 0 {
            return self.object(keypos);
        }
        let last = self.made.len().min(12);
        let back = self.roll(last);
        self.made[self.made.len() - 1 - back].clone()
    }

    fn objects(&mut self, keypos: usize) -> Term {
        let count = self.roll(5);
        Term::list((0..count).map(|_| self.object(keypos)).collect::<Vec<_>>())
    }

    fn variable(&mut self) -> Term {
        atom(["$1", "$2", "$3", "$10", "$0"][self.roll(5)])
    }

    /// An object with holes.
    fn pattern(&mut self, keypos: usize) -> Term {
        if self.roll(20) == 0 {
            return self.of(&[
                atom("_"),
                atom("$1"),
                Term::list([atom("_")]),
                Term::from(1),
            ]);
        }
        let mut elements = self.elements(keypos);
        for (at, element) in elements.iter_mut().enumerate() {
            // Mostly by a known key, or by all keys; values are mostly open.
            let open = if at + 1 == keypos { 2 } else { 4 };
            *element = match self.roll(6) {
                n if n < open => match self.roll(3) {
                    0 => atom("_"),
                    _ => self.variable(),
                },
                5 => self.hole_in(element.clone()),
                _ => element.clone(),
            };
        }
        Term::tuple(elements)
    }

    /// A term some part of which is open.
    fn hole_in(&mut self, term: Term) -> Term {
        if let Some(parts) = term.as_tuple() {
            return Term::tuple(
                parts
                    .iter()
                    .map(|part| self.perhaps(part))
                    .collect::<Vec<_>>(),
            );
        }
        if let Some(parts) = term.as_list() {
            return Term::list(
                parts
                    .iter()
                    .map(|part| self.perhaps(part))
                    .collect::<Vec<_>>(),
            );
        }
        match term.as_map() {
            Some(map) => {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(k, v)| (k.clone(), self.perhaps(v)))
                    .collect();
                Term::map(entries)
            }
            None => term,
        }
    }

    fn perhaps(&mut self, part: &Term) -> Term {
        match self.roll(3) {
            0 => self.variable(),
            1 => atom("_"),
            _ => part.clone(),
        }
    }

    fn expression(&mut self, depth: usize) -> Term {
        if depth == 0 || self.roll(3) == 0 {
            return match self.roll(9) {
                0..=3 => self.of(&[atom("$1"), atom("$2")]),
                4 => atom("$_"),
                5 => atom("$$"),
                6 => tuple([atom("const"), self.term(2)]),
                7 if self.roll(6) == 0 => self.variable(),
                _ => Term::from(self.roll(3) as i64),
            };
        }
        match self.roll(40) {
            0 => return tuple([atom("foo"), 1.into()]),
            1 => return tuple([atom("=="), 1.into()]),
            2 | 3 => {
                return tuple([tuple([
                    self.expression(depth - 1),
                    self.expression(depth - 1),
                ])]);
            }
            4 => return Term::list([self.expression(depth - 1), self.expression(depth - 1)]),
            5 => return Term::map([(self.expression(depth - 1), self.expression(depth - 1))]),
            _ => {}
        }
        let names: (&[&str], usize) = match self.roll(8) {
            0..=2 => (&["==", "/=", "=:=", "=/=", "<", "=<", ">", ">="], 2),
            3 => (
                &["and", "or", "andalso", "orelse", "xor", "andalso", "orelse"],
                2,
            ),
            4 => (
                &[
                    "is_atom",
                    "is_binary",
                    "is_float",
                    "is_integer",
                    "is_list",
                    "is_map",
                    "is_number",
                    "is_tuple",
                    "not",
                    "is_pid",
                    "is_function",
                ],
                1,
            ),
            5 => (
                &["+", "-", "/", "div", "rem", "band", "bor", "bxor", "bsr"],
                2,
            ),
            6 => (
                &[
                    "abs",
                    "hd",
                    "tl",
                    "length",
                    "size",
                    "map_size",
                    "byte_size",
                    "bit_size",
                    "-",
                    "bnot",
                ],
                1,
            ),
            _ => (&["element", "map_get", "is_map_key"], 2),
        };
        let mut call = vec![atom(names.0[self.roll(names.0.len())])];
        for _ in 0..names.1 {
            call.push(self.expression(depth - 1));
        }
        Term::tuple(call)
    }

    fn guards(&mut self) -> Term {
        let count = [0, 0, 1, 1, 2][self.roll(5)];
        Term::list((0..count).map(|_| self.expression(2)).collect::<Vec<_>>())
    }

    fn clause(&mut self, keypos: usize, results: Vec<Term>) -> Term {
        let mut head = self.pattern(keypos);
        if self.roll(8) > 0 {
            // One that binds what is used.
            let mut elements = self.elements(keypos);
            elements.resize(3, 1.into());
            let (at, also) = (self.roll(3), self.roll(2) + 1);
            elements[at] = atom("$1");
            elements[(at + also) % 3] = atom("$2");
            if self.roll(2) == 0 {
                elements[(at + 3 - also) % 3] = atom("_");
            }
            head = Term::tuple(elements);
        }
        tuple([head, self.guards(), Term::list(results)])
    }

    fn clauses(&mut self, mut clause: impl FnMut(&mut Self) -> Term) -> Term {
        let count = [0, 1, 1, 1, 1, 1, 1, 2, 2, 3][self.roll(10)];
        Term::list((0..count).map(|_| clause(self)).collect::<Vec<_>>())
    }

    fn spec(&mut self, keypos: usize) -> Term {
        self.clauses(|dice| {
            let count = [0, 1, 1, 1, 1, 1, 1, 1, 2][dice.roll(9)];
            let results = (0..count).map(|_| dice.expression(2)).collect();
            dice.clause(keypos, results)
        })
    }

    fn wanting(&mut self, keypos: usize) -> Term {
        self.clauses(|dice| {
            let result = match dice.roll(4) {
                0 => dice.expression(2),
                _ => true.into(),
            };
            dice.clause(keypos, vec![result])
        })
    }

    fn replacing(&mut self, keypos: usize) -> Term {
        self.clauses(|dice| {
            let mut head = dice.elements(keypos);
            for (at, element) in head.iter_mut().enumerate() {
                if dice.roll(3) > 0 || at == 2 {
                    *element = atom(["$1", "$2", "$3", "$10", "$0"][at]);
                }
            }
            let mut result = head.clone();
            for (at, element) in result.iter_mut().enumerate() {
                if at + 1 != keypos || dice.roll(8) == 0 {
                    *element = dice.expression(1);
                } else if element.as_tuple().is_some() {
                    *element = tuple([element.clone()]);
                }
            }
            let result = match dice.roll(6) {
                0 => atom("$_"),
                _ => tuple([Term::tuple(result)]),
            };
            tuple([Term::tuple(head), dice.guards(), Term::list([result])])
        })
    }

    fn counter(&mut self) -> Term {
        let at = [1, 2, 2, 2, 3, 3, 3, 4][self.roll(8)];
        let by = self.roll(7) as i64 - 3;
        match self.roll(2) {
            0 => Term::from((at, by)),
            _ => Term::from((at, by, self.roll(7) as i64 - 3, self.roll(4) as i64)),
        }
    }

    fn counters(&mut self) -> Term {
        match self.roll(4) {
            0 => Term::from(self.roll(7) as i64 - 3),
            1 => self.counter(),
            _ => {
                let count = self.roll(3);
                Term::list((0..count).map(|_| self.counter()).collect::<Vec<_>>())
            }
        }
    }

    /// An operation on a table.
    pub(crate) fn operation(&mut self, keypos: usize, kind: &str) -> Term {
        let one = |name: &str, what: Term| tuple([atom(name), what]);
        match self.roll(44) {
            0..=6 => one("insert", self.object(keypos)),
            7..=9 => one("insert", self.objects(keypos)),
            10 => one("insert_new", self.object(keypos)),
            11 => one("insert_new", self.objects(keypos)),
            12 | 13 => one("lookup", self.key()),
            14 => tuple([
                atom("lookup_element"),
                self.key(),
                (1 + self.roll(4) as i64).into(),
            ]),
            15 => one("member", self.key()),
            16 => one("delete", self.key()),
            17 => one("delete_object", self.known_object(keypos)),
            18 => one("take", self.key()),
            19 | 20 => {
                let elements = (0..self.roll(3)).map(|_| (1 + self.roll(4) as i64, self.value()));
                let elements = Term::list(elements.collect::<Vec<_>>());
                tuple([atom("update_element"), self.key(), elements])
            }
            21 | 22 => tuple([atom("update_counter"), self.key(), self.counters()]),
            23 => {
                let mut default = self.elements(keypos);
                default.resize(3, 0.into());
                tuple([
                    atom("update_counter"),
                    self.key(),
                    self.counters(),
                    Term::tuple(default),
                ])
            }
            24..=26 => one("match", self.pattern(keypos)),
            27 | 28 => one("match_object", self.pattern(keypos)),
            29 => one("match_delete", self.pattern(keypos)),
            30..=33 => one("select", self.spec(keypos)),
            34 => tuple([
                atom("select"),
                self.spec(keypos),
                (1 + self.roll(3) as i64).into(),
            ]),
            35 | 36 => one("select_count", self.wanting(keypos)),
            37 => one("select_delete", self.wanting(keypos)),
            38 | 39 if kind != "bag" => one("select_replace", self.replacing(keypos)),
            40 => atom(["first", "last", "size", "tab2list", "foldl", "foldr"][self.roll(6)]),
            41 => one(["next", "prev"][self.roll(2)], self.key()),
            42 => atom(["tab2list", "walk", "walk", "delete_all_objects"][self.roll(4)]),
            _ => atom("tab2list"),
        }
    }

    /// A question about the order of terms.
    pub(crate) fn question(&mut self) -> Term {
        match self.roll(4) {
            0 => tuple([
                atom("sort"),
                Term::list((0..20).map(|_| self.term(3)).collect::<Vec<_>>()),
            ]),
            1 => tuple([atom("compare"), self.large_map(), self.large_map()]),
            _ => tuple([atom("compare"), self.term(3), self.term(3)]),
        }
    }
}

pub(crate) fn kind(word: &str) -> TableType {
    match word {
        "set" => TableType::Set,
        "ordered_set" => TableType::OrderedSet,
        "bag" => TableType::Bag,
        "duplicate_bag" => TableType::DuplicateBag,
        other => panic!("no type of tables: {other}"),
    }
}

pub(crate) fn table(system: &System, kind_of: &str, keypos: usize) -> TermTable {
    let builder = TermTable::builder(kind(kind_of)).keypos(keypos);
    system.term_table(builder).expect("a table")
}

/// What has no order of its own, put into one.
pub(crate) fn settled(kind: &str, operation: &Term, answer: Term) -> Term {
    let name = operation.as_tuple().map_or(operation, |parts| &parts[0]);
    let name = name.as_atom().expect("a name");
    let any = [
        "match",
        "match_object",
        "select",
        "tab2list",
        "foldl",
        "foldr",
        "walk",
    ];
    match answer.as_list() {
        Some(all) if kind != "ordered_set" && any.contains(&name) => {
            let mut all = all.to_vec();
            all.sort_by(|a, b| a.compare(b).then_with(|| a.to_string().cmp(&b.to_string())));
            all.into()
        }
        _ => answer,
    }
}

fn count(count: usize) -> Term {
    Term::try_from(count).expect("small")
}

fn position(term: &Term) -> usize {
    usize::try_from(term).expect("a position")
}

fn counter(op: &Term) -> CounterOp {
    let number = |term: &Term| i64::try_from(term).expect("a number");
    match op.as_tuple() {
        None => number(op).into(),
        Some([at, by]) => CounterOp::at(position(at), number(by)),
        Some([at, by, threshold, to]) => {
            let by = Increment::by(number(by)).threshold(number(threshold), number(to));
            CounterOp::at(position(at), by)
        }
        Some(_) => panic!("no counter operation: {op}"),
    }
}

/// The answer to an operation.
pub(crate) fn act(table: &TermTable, operation: &Term) -> Term {
    try_act(table, operation).unwrap_or_else(|Refused| atom("badarg"))
}

fn try_act(table: &TermTable, operation: &Term) -> Result<Term, Refused> {
    let ordered = table.kind() == TableType::OrderedSet;
    let key = |key: Option<Term>| match key {
        Some(key) if ordered => key,
        Some(_) => atom("known"),
        None => atom("$end_of_table"),
    };
    // In tables without an order only whether the key is known is compared.
    let step = |next: Option<Term>| if ordered { key(next) } else { atom("known") };
    let whole = std::slice::from_ref(operation);
    let (name, arguments) = operation
        .as_tuple()
        .unwrap_or(whole)
        .split_first()
        .expect("a name");
    let answer = match (name.as_atom().expect("a name"), arguments) {
        ("insert", [object]) => {
            match object.as_list() {
                Some(objects) => table.insert_many(objects)?,
                None => table.insert(object)?,
            }
            atom("true")
        }
        ("insert_new", [object]) => Term::from(match object.as_list() {
            Some(objects) => table.insert_new_many(objects)?,
            None => table.insert_new(object)?,
        }),
        ("lookup", [key]) => table.lookup(key)?.into(),
        ("lookup_element", [key, at]) => table.lookup_element(key, position(at))?,
        ("member", [key]) => table.member(key)?.into(),
        ("delete", [key]) => table.delete(key)?.into(),
        ("delete_object", [object]) => count(table.delete_object(object)?),
        ("take", [key]) => table.take(key)?.into(),
        ("update_element", [key, elements]) => {
            let elements = elements.as_list().expect("a list").iter();
            let pair = |pair: &Term| {
                let pair = pair.as_tuple().expect("a pair");
                (position(&pair[0]), pair[1].clone())
            };
            table.update_elements(key, elements.map(pair))?.into()
        }
        ("update_counter", [key, ops, default @ ..]) => {
            let list = ops.as_list();
            let several = list
                .unwrap_or(std::slice::from_ref(ops))
                .iter()
                .map(counter);
            let counters = match default {
                [default] => table.update_counters_or(key, several, default)?,
                _ => table.update_counters(key, several)?,
            };
            match list {
                Some(_) => Term::list(counters),
                None => counters[0].into(),
            }
        }
        ("match", [pattern]) => table.match_values(&MatchPattern::new(pattern)?)?.into(),
        ("match_object", [pattern]) => table.match_object(&MatchPattern::new(pattern)?)?.into(),
        ("match_delete", [pattern]) => count(table.match_delete(&MatchPattern::new(pattern)?)?),
        ("select", [spec]) => table.select(&MatchSpec::new(spec)?)?.into(),
        ("select", [spec, limit]) => {
            let pages = table.select_pages(position(limit), &MatchSpec::new(spec)?);
            let pages: Result<Vec<Vec<Term>>, _> = pages.collect();
            pages?.concat().into()
        }
        ("select_count", [spec]) => count(table.select_count(&MatchSpec::new(spec)?)?),
        ("select_delete", [spec]) => count(table.select_delete(&MatchSpec::new(spec)?)?),
        ("select_replace", [spec]) => count(table.select_replace(&MatchSpec::new(spec)?)?),
        ("first", []) => key(table.first()?),
        ("last", []) => key(table.last()?),
        ("next", [from]) => step(table.next(from)?),
        ("prev", [from]) => step(table.prev(from)?),
        ("walk", []) => {
            let mut keys = Vec::new();
            let mut at = table.first()?;
            while let Some(key) = at {
                at = table.next(&key)?;
                keys.push(key);
            }
            keys.into()
        }
        ("size", []) => count(table.len()?),
        ("tab2list", []) => table.to_list()?.into(),
        ("foldl", []) => fold(|all, object| table.foldl(all, object))?,
        ("foldr", []) => fold(|all, object| table.foldr(all, object))?,
        ("delete_all_objects", []) => {
            table.delete_all()?;
            atom("true")
        }
        ("sort", [terms]) => {
            let mut terms = terms.as_list().expect("a list").to_vec();
            terms.sort_by(Term::compare);
            terms.into()
        }
        ("compare", [a, b]) => {
            let order = a.compare(b);
            (order.is_eq(), a == b, order.is_lt()).into()
        }
        _ => panic!("no operation: {operation}"),
    };
    Ok(answer)
}

fn fold<E>(
    run: impl FnOnce(Vec<Term>, fn(Vec<Term>, &Term) -> Vec<Term>) -> Result<Vec<Term>, E>,
) -> Result<Term, E> {
    let add = |mut all: Vec<Term>, object: &Term| {
        all.push(object.clone());
        all
    };
    Ok(run(Vec::new(), add)?.into())
}
