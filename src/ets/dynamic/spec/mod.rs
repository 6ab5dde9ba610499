//! Match specifications: what is wanted of which objects, said in terms.
//!
//! ```text
//! [{Head, [Guard, ..], [Result, ..]}, ..]          [{{'$1','$2'}, [{'>=','$2',18}], ['$1']}]
//!    │       │            │
//!    │       │            └ expressions: the last one is what comes of the object
//!    │       └ expressions: all must be true
//!    └ a pattern: of what shape the object is, and which of its parts are which variables
//! ```
//!
//! The first clause that an object fits says what comes of it; one that fits none is passed over.
//!
//! | part | what it does |
//! |---|---|
//! | `pattern` | heads |
//! | `expr` | guards and results |
//! | `function` | what those call |
//!
//! # Invariants
//! 1. A specification that exists is sound: variables are bound, functions are known with so many arguments,
//!    all numbers are finite. So running one cannot fail, and does no more than look at an object.
//! 2. What is nested in a pattern or expression is at most [`MAX_DEPTH`] deep, so recursion over it is bounded.
//!    Terms in it that are compared or handed out as they are may be of any depth.

mod expr;
mod function;
mod pattern;

use std::str::FromStr;

use self::expr::{Env, Expr};
use self::pattern::{Pattern, Variables};
use crate::exit::{ParseTermError, Term, TermKind, compare_exactly};
use crate::sync::Arc;

/// How deep a pattern or expression may be nested.
const MAX_DEPTH: usize = 128;

/// Why a term is no match specification, or no pattern. OTP: `badarg`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchSpecError {
    /// It is not a list of clauses, each a tuple of a head, a list of guards and a list of results.
    #[error("not a list of clauses {{Head, [Guard, ..], [Result, ..]}}")]
    NotASpec,
    /// A clause has no result.
    #[error("a clause without a result")]
    NoResult,
    /// A guard or result has a variable that the head of its clause does not bind.
    #[error("'${0}' is not bound in the head")]
    Unbound(u32),
    /// There is no such variable: they go from `'$0'` to `'$4294967295'`.
    #[error("{0} is no variable")]
    BadVariable(Term),
    /// No function of this name takes so many arguments.
    #[error("there is no function {name}/{arity}")]
    UnknownFunction {
        /// The name.
        name: String,
        /// How many arguments it was given.
        arity: usize,
    },
    /// A tuple in a guard or result that neither calls a function, nor is written as one that is to be built:
    /// `{{a, b}}`.
    #[error("{0} calls no function; a tuple is written in two pairs of braces")]
    NotAnExpression(Term),
    /// The keys of a map in a head are to be known.
    #[error("a key of a map in a pattern has a variable in it")]
    VariableKey,
    /// It is nested more than 128 deep.
    #[error("nested too deep")]
    TooDeep,
    /// A number in it is NaN or infinite.
    #[error("a float that is not finite")]
    NotFinite,
    /// The text is no term.
    #[error("not a term")]
    Syntax(#[from] ParseTermError),
}

/// A match specification: which objects, and what comes of them. OTP: `ets:match_spec_compile/1`.
///
/// It is a term, as in Erlang: a list of clauses, `{Head, Guards, Results}`. The first that fits an object
/// says what comes of it. It is checked when it is made, and can be used any number of times.
///
/// ```
/// # use noex::Term;
/// use noex::ets::MatchSpec;
///
/// let adults: MatchSpec = "[{{'$1', '$2'}, [{'>=', '$2', 18}], [{{'$2', '$1'}}]}]".parse()?;
/// assert_eq!(adults.run(&Term::from(("ann", 17))), None);
/// assert_eq!(adults.run(&Term::from(("bob", 18))), Some(Term::from((18, "bob"))));
/// # Ok::<(), noex::ets::MatchSpecError>(())
/// ```
///
/// # Heads
/// | pattern | fits |
/// |---|---|
/// | `'_'` | anything |
/// | `'$0'`, `'$1'`, .. | anything, and calls it so; where it stands again, only what is the same by `=:=` |
/// | `{P1, P2, ..}`, `[P1, P2, ..]` | a tuple or list of as many, each of which fits |
/// | `#{K => P, ..}` | a map that has at least these keys, with values that fit |
/// | any other term | what is the same by `=:=`; so `1` does not fit `1.0`, also in an ordered set |
///
/// # Guards and results
/// | expression | is |
/// |---|---|
/// | `'$1'`, `'$_'`, `'$$'` | what the variable was found to be; the object; a list of all variables, in the order of their numbers |
/// | `{{E1, E2, ..}}`, `[E1, E2, ..]`, `#{E1 => E2, ..}` | a tuple, list or map of what these are |
/// | `{const, Term}` | the term as it is |
/// | `{Function, E1, ..}` | what the function makes of these |
/// | any other term that is no tuple | itself |
///
/// Guards must all be `true`. Of the results the last one counts.
///
/// | functions | |
/// |---|---|
/// | `==`, `/=`, `=:=`, `=/=`, `<`, `=<`, `>`, `>=` | comparisons, as [`Term::compare`], the exact ones as `Eq` |
/// | `not`, `xor`; `and`, `or`, `andalso`, `orelse` of any number | of booleans |
/// | `is_atom`, `is_binary`, `is_float`, `is_function`, `is_integer`, `is_list`, `is_map`, `is_number`, `is_pid`, `is_port`, `is_reference`, `is_tuple`, `is_map_key`, `is_record` of three | tests |
/// | `+`, `-`, `*`, `/`, `div`, `rem`, `abs`, `round`, `trunc`, `float` | arithmetic |
/// | `band`, `bor`, `bxor`, `bnot`, `bsl`, `bsr` | bits |
/// | `element`, `hd`, `tl`, `length`, `size`, `map_get`, `map_size`, `byte_size`, `bit_size`, `binary_part` | parts |
///
/// A function that cannot do what it is asked to (`{'+', a, 1}`) makes a guard fail, and the object does not fit
/// the clause; in a result it is the atom `'EXIT'`. So is a whole number beyond 64 bits, which in OTP
/// has no limit. `self`, `node` and what is about tracing are not there.
#[derive(Debug, Clone)]
pub struct MatchSpec {
    clauses: Arc<[Clause]>,
}

#[derive(Debug)]
struct Clause {
    head: MatchPattern,
    guards: Vec<Expr>,
    results: Vec<Expr>,
}

/// A pattern: the head of a [`MatchSpec`], for itself.
///
/// ```
/// # use noex::Term;
/// use noex::ets::MatchPattern;
///
/// let pattern: MatchPattern = "{user, '$1', '_'}".parse()?;
/// let same = MatchPattern::new((Term::atom("user"), Term::atom("$1"), Term::atom("_")))?;
/// let ann = Term::from((Term::atom("user"), "ann", 17));
/// assert_eq!(pattern.values(&ann), Some(Term::list(["ann"])));
/// assert_eq!(same.values(&Term::from(("ann", 17))), None);
/// # Ok::<(), noex::ets::MatchSpecError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MatchPattern {
    pattern: Pattern,
    variables: Variables,
}

/// Which objects can fit a specification at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Any.
    All,
    /// Those with these keys; in the order of terms, and each once. Some may be equal by `==`.
    Keys(Vec<Term>),
}

impl MatchPattern {
    /// The pattern that a term is: what can be in it is said of [`MatchSpec`].
    ///
    /// # Errors
    /// [`MatchSpecError::VariableKey`], [`BadVariable`](MatchSpecError::BadVariable),
    /// [`TooDeep`](MatchSpecError::TooDeep), [`NotFinite`](MatchSpecError::NotFinite).
    pub fn new(pattern: impl Into<Term>) -> Result<MatchPattern, MatchSpecError> {
        let term = pattern.into();
        if !term.is_finite() {
            return Err(MatchSpecError::NotFinite);
        }
        let mut variables = Variables::default();
        let pattern = Pattern::compile(&term, &mut variables, MAX_DEPTH)?;
        Ok(MatchPattern { pattern, variables })
    }

    /// Whether a term fits.
    pub fn fits(&self, object: &Term) -> bool {
        self.bind(object).is_some()
    }

    /// What the variables are in a term, as a list, in the order of their numbers; `None`: it does not fit.
    pub fn values(&self, object: &Term) -> Option<Term> {
        self.bind(object).map(|env| env.bindings())
    }

    fn bind<'a>(&'a self, object: &'a Term) -> Option<Env<'a>> {
        let mut found = vec![None; self.variables.len()];
        let fits = self.pattern.fits(object, &mut found);
        fits.then_some(Env {
            object,
            found,
            variables: &self.variables,
        })
    }

    /// Which objects can fit, if their keys are at this position.
    pub(super) fn reach(&self, keypos: usize) -> Reach {
        match self.pattern.key(keypos) {
            pattern::Key::Any => Reach::All,
            pattern::Key::Is(key) => Reach::Keys(vec![key]),
            pattern::Key::None => Reach::Keys(Vec::new()),
        }
    }
}

impl FromStr for MatchPattern {
    type Err = MatchSpecError;

    /// Reads a pattern in Erlang's syntax, as a [`Term`] is read.
    fn from_str(text: &str) -> Result<MatchPattern, MatchSpecError> {
        MatchPattern::new(text.parse::<Term>()?)
    }
}

impl MatchSpec {
    /// The match specification that a term is.
    ///
    /// # Errors
    /// [`MatchSpecError`] says what is wrong with it.
    pub fn new(spec: impl Into<Term>) -> Result<MatchSpec, MatchSpecError> {
        let spec = spec.into();
        if !spec.is_finite() {
            return Err(MatchSpecError::NotFinite);
        }
        let clauses = spec.as_list().ok_or(MatchSpecError::NotASpec)?;
        let clauses: Result<Vec<Clause>, _> = clauses.iter().map(Clause::compile).collect();
        Ok(MatchSpec {
            clauses: clauses?.into(),
        })
    }

    /// What comes of an object; `None`: it does not fit. OTP: `ets:match_spec_run/2`.
    pub fn run(&self, object: &Term) -> Option<Term> {
        self.clauses.iter().find_map(|clause| clause.run(object))
    }

    /// Whether what comes of an object is `true`.
    pub(super) fn wants(&self, object: &Term) -> bool {
        self.run(object)
            .is_some_and(|result| result.is_atom("true"))
    }

    pub(super) fn reach(&self, keypos: usize) -> Reach {
        let mut keys: Vec<Term> = Vec::new();
        for clause in self.clauses.iter() {
            match clause.head.reach(keypos) {
                Reach::All => return Reach::All,
                Reach::Keys(more) => keys.extend(more),
            }
        }
        keys.sort_by(|a, b| a.compare(b).then_with(|| compare_exactly(a, b)));
        keys.dedup();
        Reach::Keys(keys)
    }

    /// Whether it makes of each object one with the same key, as can be seen from how it is written.
    pub(super) fn keeps_key(&self, keypos: usize) -> bool {
        let keeps = |clause: &Clause| match &clause.results[..] {
            [result] => result.keeps_key(&clause.head.pattern, keypos),
            _ => false,
        };
        self.clauses.iter().all(keeps)
    }
}

impl From<MatchPattern> for MatchSpec {
    /// Gives the objects that fit.
    fn from(head: MatchPattern) -> MatchSpec {
        let clause = Clause {
            head,
            guards: Vec::new(),
            results: vec![Expr::Object],
        };
        MatchSpec {
            clauses: Arc::new([clause]),
        }
    }
}

impl FromStr for MatchSpec {
    type Err = MatchSpecError;

    /// Reads a match specification in Erlang's syntax, as a [`Term`] is read.
    fn from_str(text: &str) -> Result<MatchSpec, MatchSpecError> {
        MatchSpec::new(text.parse::<Term>()?)
    }
}

impl Clause {
    fn compile(clause: &Term) -> Result<Clause, MatchSpecError> {
        let Some([head, guards, results]) = clause.as_tuple() else {
            return Err(MatchSpecError::NotASpec);
        };
        let head = MatchPattern::new(head)?;
        let compile = |expressions: &Term| -> Result<Vec<Expr>, MatchSpecError> {
            let TermKind::List(expressions) = expressions.kind() else {
                return Err(MatchSpecError::NotASpec);
            };
            let compile = |term| Expr::compile(term, &head.variables, MAX_DEPTH);
            expressions.iter().map(compile).collect()
        };
        let (guards, results) = (compile(guards)?, compile(results)?);
        if results.is_empty() {
            return Err(MatchSpecError::NoResult);
        }
        Ok(Clause {
            head,
            guards,
            results,
        })
    }

    fn run(&self, object: &Term) -> Option<Term> {
        let env = self.head.bind(object)?;
        if !self.guards.iter().all(|guard| guard.holds(&env)) {
            return None;
        }
        // Those before it have no effect.
        self.results.last().map(|result| result.result(&env))
    }
}

#[cfg(test)]
mod tests;
