//! Patterns: what an object must look like.

use super::MatchSpecError;
use crate::exit::{Term, TermKind};

/// A part of an object, and what it must be.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Any,
    /// The variable in this place of [`Variables`].
    Variable(usize),
    Is(Term),
    Tuple(Vec<Pattern>),
    List(Vec<Pattern>),
    /// At least these keys.
    Map(Vec<(Term, Pattern)>),
}

/// The numbers of the variables of a pattern, in the order in which they appear.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(Vec<u32>);

/// What the key of an object can be that fits.
pub(super) enum Key {
    Any,
    Is(Term),
    /// No object fits.
    None,
}

impl Variables {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn place(&self, number: u32) -> Option<usize> {
        self.0.iter().position(|it| *it == number)
    }

    fn place_or_new(&mut self, number: u32) -> usize {
        self.place(number).unwrap_or_else(|| {
            self.0.push(number);
            self.0.len() - 1
        })
    }

    /// All places, in the order of the numbers.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.0.len()).collect();
        places.sort_by_key(|place| self.0[*place]);
        places
    }
}

/// The number of a variable; `None`: the term is none.
pub(super) fn variable(term: &Term) -> Option<Result<u32, MatchSpecError>> {
    let digits = term.as_atom()?.strip_prefix('$')?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse();
    Some(number.map_err(|_| MatchSpecError::BadVariable(term.clone())))
}

/// Whether any part of a term is so, the term itself included. On a flat stack.
pub(super) fn any_part(term: &Term, so: impl Fn(&Term) -> bool) -> bool {
    if so(term) {
        return true;
    }
    let mut rest = vec![term.kind().parts().iter()];
    while let Some(parts) = rest.last_mut() {
        match parts.next() {
            None => _ = rest.pop(),
            Some(part) if so(part) => return true,
            Some(part) => rest.push(part.kind().parts().iter()),
        }
    }
    false
}

fn is_open(term: &Term) -> bool {
    term.is_atom("_") || variable(term).is_some()
}

impl Pattern {
    pub(super) fn compile(
        term: &Term,
        variables: &mut Variables,
        depth: usize,
    ) -> Result<Pattern, MatchSpecError> {
        if let Some(number) = variable(term) {
            return Ok(Pattern::Variable(variables.place_or_new(number?)));
        }
        if term.is_atom("_") {
            return Ok(Pattern::Any);
        }
        // A map is not compared as it is, also if all in it is known.
        if !any_part(term, |part| is_open(part) || part.as_map().is_some()) {
            return Ok(Pattern::Is(term.clone()));
        }
        let depth = depth.checked_sub(1).ok_or(MatchSpecError::TooDeep)?;
        let mut each = |parts: &[Term]| -> Result<Vec<Pattern>, MatchSpecError> {
            let compile = |part| Pattern::compile(part, variables, depth);
            parts.iter().map(compile).collect()
        };
        Ok(match term.kind() {
            TermKind::Tuple(parts) => Pattern::Tuple(each(parts)?),
            TermKind::List(parts) => Pattern::List(each(parts)?),
            TermKind::Map(map) => {
                if map.keys().iter().any(|key| any_part(key, is_open)) {
                    return Err(MatchSpecError::VariableKey);
                }
                let values = each(map.values())?;
                Pattern::Map(map.keys().iter().cloned().zip(values).collect())
            }
            _ => Pattern::Is(term.clone()),
        })
    }

    /// Whether a term fits; takes note of what the variables are.
    pub(super) fn fits<'a>(&self, term: &'a Term, found: &mut [Option<&'a Term>]) -> bool {
        let mut all = |patterns: &[Pattern], terms: &'a [Term]| {
            let mut pairs = patterns.iter().zip(terms);
            patterns.len() == terms.len() && pairs.all(|(pattern, term)| pattern.fits(term, found))
        };
        match (self, term.kind()) {
            (Pattern::Any, _) => true,
            (Pattern::Variable(place), _) => match &mut found[*place] {
                Some(before) => *before == term,
                new => {
                    *new = Some(term);
                    true
                }
            },
            (Pattern::Is(this), _) => this == term,
            (Pattern::Tuple(patterns), TermKind::Tuple(terms)) => all(patterns, terms),
            (Pattern::List(patterns), TermKind::List(terms)) => all(patterns, terms),
            (Pattern::Map(entries), TermKind::Map(map)) => {
                let mut entries = entries.iter();
                entries.all(|(key, pattern)| {
                    map.get(key).is_some_and(|term| pattern.fits(term, found))
                })
            }
            (Pattern::Tuple(_) | Pattern::List(_) | Pattern::Map(_), _) => false,
        }
    }

    /// What it says of the element at `keypos`.
    pub(super) fn key(&self, keypos: usize) -> Key {
        let is = |key: &Term| Key::Is(key.clone());
        match self {
            Pattern::Any | Pattern::Variable(_) => Key::Any,
            Pattern::Is(term) => {
                let key = term.as_tuple().and_then(|parts| parts.get(keypos - 1));
                key.map_or(Key::None, is)
            }
            Pattern::Tuple(parts) => match parts.get(keypos - 1) {
                Some(Pattern::Is(key)) => is(key),
                Some(_) => Key::Any,
                None => Key::None,
            },
            Pattern::List(_) | Pattern::Map(_) => Key::None,
        }
    }
}
