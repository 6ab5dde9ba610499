//! Guards and results: expressions over what a head has found.

use super::function::Function;
use super::pattern::{Pattern, Variables, any_part, variable};
use super::{MatchSpecError, function};
use crate::exit::{Term, TermKind};

/// What an expression is about: an object, and what it was found to consist of.
pub(super) struct Env<'a> {
    pub(super) object: &'a Term,
    pub(super) found: Vec<Option<&'a Term>>,
    pub(super) variables: &'a Variables,
}

impl Env<'_> {
    /// All variables, in the order of their numbers.
    pub(super) fn bindings(&self) -> Term {
        let places = self.variables.in_order().into_iter();
        Term::list(places.filter_map(|place| self.found[place]))
    }
}

#[derive(Debug)]
pub(super) enum Expr {
    Is(Term),
    Variable(usize),
    /// `'$_'`
    Object,
    /// `'$$'`
    Bindings,
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Call(Function, Vec<Expr>),
}

/// What an expression comes to. Most are only looked at, so they are not made terms for that.
#[derive(Clone)]
pub(super) enum Value<'a> {
    Bool(bool),
    Ref(&'a Term),
    Own(Term),
}

impl Value<'_> {
    pub(super) fn into_term(self) -> Term {
        match self {
            Value::Bool(value) => value.into(),
            Value::Ref(term) => term.clone(),
            Value::Own(term) => term,
        }
    }

    /// Makes a term of it, if it is none, to look at it.
    pub(super) fn as_term(&mut self) -> &Term {
        if let Value::Bool(value) = *self {
            *self = Value::Own(value.into());
        }
        match self {
            Value::Ref(term) => term,
            Value::Own(term) => term,
            // Not so any more.
            Value::Bool(_) => unreachable!("made a term above"),
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            Value::Ref(term) => term.as_bool(),
            Value::Own(term) => term.as_bool(),
        }
    }
}

impl<T: Into<Term>> From<T> for Value<'_> {
    fn from(value: T) -> Self {
        Value::Own(value.into())
    }
}

/// What becomes of a function that cannot do what it is asked to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The guard fails, whatever it is in.
    Fails,
    /// It is `'EXIT'`.
    Exit,
}

impl Expr {
    pub(super) fn compile(
        term: &Term,
        bound: &Variables,
        depth: usize,
    ) -> Result<Expr, MatchSpecError> {
        if let Some(number) = variable(term) {
            let number = number?;
            let place = bound.place(number);
            return place
                .map(Expr::Variable)
                .ok_or(MatchSpecError::Unbound(number));
        }
        match term.as_atom() {
            Some("$_") => return Ok(Expr::Object),
            Some("$$") => return Ok(Expr::Bindings),
            Some(_) => return Ok(Expr::Is(term.clone())),
            None => {}
        }
        let is_active = |part: &Term| {
            part.as_tuple().is_some() || part.as_atom().is_some_and(|name| name.starts_with('$'))
        };
        if !any_part(term, is_active) {
            return Ok(Expr::Is(term.clone()));
        }
        let depth = depth.checked_sub(1).ok_or(MatchSpecError::TooDeep)?;
        let each = |parts: &[Term]| -> Result<Vec<Expr>, MatchSpecError> {
            parts
                .iter()
                .map(|part| Expr::compile(part, bound, depth))
                .collect()
        };
        Ok(match term.kind() {
            TermKind::List(parts) => Expr::List(each(parts)?),
            TermKind::Map(map) => {
                let (keys, values) = (each(map.keys())?, each(map.values())?);
                Expr::Map(keys.into_iter().zip(values).collect())
            }
            TermKind::Tuple(parts) => match &parts[..] {
                [inner] if inner.as_tuple().is_some() => Expr::Tuple(each(inner.kind().parts())?),
                [name, this] if name.is_atom("const") => Expr::Is(this.clone()),
                [name, arguments @ ..] if name.as_atom().is_some() => {
                    let name = name.as_atom().unwrap_or_default();
                    let arity = arguments.len();
                    let function = Function::find(name, arity);
                    let name = || name.to_owned();
                    let function = function.ok_or_else(|| MatchSpecError::UnknownFunction {
                        name: name(),
                        arity,
                    })?;
                    Expr::Call(function, each(arguments)?)
                }
                _ => return Err(MatchSpecError::NotAnExpression(term.clone())),
            },
            _ => Expr::Is(term.clone()),
        })
    }

    /// As a guard.
    pub(super) fn holds(&self, env: &Env<'_>) -> bool {
        let value = self.value(env, Failure::Fails);
        value.is_some_and(|value| value.as_bool() == Some(true))
    }

    /// As a result.
    pub(super) fn result(&self, env: &Env<'_>) -> Term {
        let value = self.value(env, Failure::Exit);
        value.map_or_else(|| Term::atom("EXIT"), Value::into_term)
    }

    /// `None`: it fails, and so does what it is in.
    fn value<'a>(&'a self, env: &Env<'a>, failure: Failure) -> Option<Value<'a>> {
        let term = |expr: &'a Expr| expr.value(env, failure).map(Value::into_term);
        let terms = |parts: &'a [Expr]| parts.iter().map(term).collect::<Option<Vec<Term>>>();
        Some(match self {
            Expr::Is(term) => Value::Ref(term),
            // A head that fits has found all of its variables.
            Expr::Variable(place) => Value::Ref(env.found[*place]?),
            Expr::Object => Value::Ref(env.object),
            Expr::Bindings => Value::Own(env.bindings()),
            Expr::Tuple(parts) => Value::Own(TermKind::Tuple(terms(parts)?).into()),
            Expr::List(parts) => Value::Own(TermKind::List(terms(parts)?).into()),
            Expr::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| Some((term(key)?, term(value)?)));
                Value::Own(Term::map(entries.collect::<Option<Vec<_>>>()?))
            }
            Expr::Call(function, arguments) => {
                let value = |expr: &'a Expr| expr.value(env, failure);
                // Where failing is a value, only this function can have failed, and no argument.
                match (function::call(*function, arguments, value), failure) {
                    (None, Failure::Exit) => Value::Own(Term::atom("EXIT")),
                    (value, _) => value?,
                }
            }
        })
    }

    /// Whether it makes of an object that fits `head` one with the same key.
    pub(super) fn keeps_key(&self, head: &Pattern, keypos: usize) -> bool {
        let key = match head {
            Pattern::Tuple(parts) => parts.get(keypos - 1),
            _ => None,
        };
        match (self, head) {
            (Expr::Object, _) => true,
            (Expr::Tuple(parts), _) => parts.get(keypos - 1).is_some_and(|part| {
                part.is_element_of_object(keypos) || part.is_key(head, key, keypos)
            }),
            (Expr::Is(object), _) => object
                .as_tuple()
                .and_then(|parts| parts.get(keypos - 1))
                .is_some_and(|part| Expr::Is(part.clone()).is_key(head, key, keypos)),
            _ => false,
        }
    }

    fn is_key(&self, head: &Pattern, key: Option<&Pattern>, keypos: usize) -> bool {
        match (key, head) {
            (Some(pattern), _) => self.rebuilds(pattern),
            (None, Pattern::Is(object)) => {
                let key = object.as_tuple().and_then(|parts| parts.get(keypos - 1));
                key.is_some_and(|key| self.rebuilds(&Pattern::Is(key.clone())))
            }
            _ => false,
        }
    }

    fn is_element_of_object(&self, keypos: usize) -> bool {
        match self {
            Expr::Call(Function::Element, arguments) => match &arguments[..] {
                [Expr::Is(at), Expr::Object] => usize::try_from(at) == Ok(keypos),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether it is what has fitted the pattern.
    fn rebuilds(&self, pattern: &Pattern) -> bool {
        let all = |exprs: &[Expr], patterns: &[Pattern]| {
            let mut pairs = exprs.iter().zip(patterns);
            exprs.len() == patterns.len() && pairs.all(|(expr, pattern)| expr.rebuilds(pattern))
        };
        match (self, pattern) {
            (Expr::Variable(a), Pattern::Variable(b)) => a == b,
            (Expr::Is(a), Pattern::Is(b)) => a == b,
            (Expr::Tuple(exprs), Pattern::Tuple(patterns)) => all(exprs, patterns),
            (Expr::List(exprs), Pattern::List(patterns)) => all(exprs, patterns),
            // What is written with braces in braces, but has no variable in it.
            (Expr::Tuple(exprs), Pattern::Is(term)) => rebuild(exprs, term.as_tuple()),
            (Expr::List(exprs), Pattern::Is(term)) => rebuild(exprs, term.as_list()),
            _ => false,
        }
    }
}

fn rebuild(exprs: &[Expr], terms: Option<&[Term]>) -> bool {
    let Some(terms) = terms else { return false };
    let mut pairs = exprs.iter().zip(terms);
    exprs.len() == terms.len()
        && pairs.all(|(expr, term)| expr.rebuilds(&Pattern::Is(term.clone())))
}
