//! The functions of guards and results.

use super::expr::{Expr, Value};
use crate::exit::{Term, TermKind};

macro_rules! functions {
    ($($function:ident $name:literal $least:literal $most:tt)+) => {
        /// A function that is there, by name and number of arguments.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(clippy::enum_variant_names, reason = "they have Erlang's names")]
        pub(super) enum Function {
            $($function),+
        }

        impl Function {
            /// The function of this name that takes so many arguments.
            pub(super) fn find(name: &str, arity: usize) -> Option<Function> {
                match name {
                    $($name if ($least..=functions!(@ $most)).contains(&arity) => Some(Function::$function),)+
                    _ => None,
                }
            }
        }
    };
    (@ any) => { usize::MAX };
    (@ $most:literal) => { $most };
}

functions! {
    IsAtom "is_atom" 1 1
    IsBinary "is_binary" 1 1
    IsFloat "is_float" 1 1
    IsFunction "is_function" 1 1
    IsInteger "is_integer" 1 1
    IsList "is_list" 1 1
    IsMap "is_map" 1 1
    IsMapKey "is_map_key" 2 2
    IsNumber "is_number" 1 1
    IsPid "is_pid" 1 1
    IsPort "is_port" 1 1
    IsRecord "is_record" 3 3
    IsReference "is_reference" 1 1
    IsTuple "is_tuple" 1 1
    And "and" 1 any
    Or "or" 1 any
    AndAlso "andalso" 1 any
    OrElse "orelse" 1 any
    Not "not" 1 1
    Xor "xor" 2 2
    Equal "==" 2 2
    NotEqual "/=" 2 2
    Same "=:=" 2 2
    NotSame "=/=" 2 2
    Less "<" 2 2
    LessOrEqual "=<" 2 2
    Greater ">" 2 2
    GreaterOrEqual ">=" 2 2
    Plus "+" 1 2
    Minus "-" 1 2
    Times "*" 2 2
    Over "/" 2 2
    Div "div" 2 2
    Rem "rem" 2 2
    Band "band" 2 2
    Bor "bor" 2 2
    Bxor "bxor" 2 2
    Bnot "bnot" 1 1
    Bsl "bsl" 2 2
    Bsr "bsr" 2 2
    Abs "abs" 1 1
    Round "round" 1 1
    Trunc "trunc" 1 1
    Float "float" 1 1
    Element "element" 2 2
    Hd "hd" 1 1
    Tl "tl" 1 1
    Length "length" 1 1
    Size "size" 1 1
    MapGet "map_get" 2 2
    MapSize "map_size" 1 1
    ByteSize "byte_size" 1 1
    BitSize "bit_size" 1 1
    BinaryPart "binary_part" 3 3
}

/// Calls a function of arguments that `value` evaluates, each when it is needed. `None`: it cannot do this, or
/// an argument has no value.
pub(super) fn call<'a>(
    function: Function,
    arguments: &'a [Expr],
    value: impl Fn(&'a Expr) -> Option<Value<'a>>,
) -> Option<Value<'a>> {
    match function {
        Function::AndAlso => return decide(arguments, false, value),
        Function::OrElse => return decide(arguments, true, value),
        _ => {}
    }
    let mut values: Vec<Value<'a>> = arguments.iter().map(value).collect::<Option<_>>()?;
    if let Some(value) = of_booleans(function, &values) {
        return Some(value);
    }
    let terms: Vec<&Term> = values.iter_mut().map(Value::as_term).collect();
    of_terms(function, &terms)
}

/// The first that is `decisive`, else the last, whatever that is.
fn decide<'a>(
    arguments: &'a [Expr],
    decisive: bool,
    value: impl Fn(&'a Expr) -> Option<Value<'a>>,
) -> Option<Value<'a>> {
    let (last, others) = arguments.split_last()?;
    for expr in others {
        let value = value(expr)?.as_bool()?;
        if value == decisive {
            return Some(Value::Bool(value));
        }
    }
    value(last)
}

/// What needs no terms; `None`: it is another function, or wrong.
fn of_booleans<'a>(function: Function, values: &[Value<'a>]) -> Option<Value<'a>> {
    let booleans = || {
        values
            .iter()
            .map(Value::as_bool)
            .collect::<Option<Vec<bool>>>()
    };
    let all = |decide: fn(&[bool]) -> bool| booleans().map(|them| Value::Bool(decide(&them)));
    match function {
        Function::And => all(|them| them.iter().all(|it| *it)),
        Function::Or => all(|them| them.iter().any(|it| *it)),
        Function::Xor => all(|them| them.iter().fold(false, |a, b| a ^ b)),
        Function::Not => all(|them| !them.iter().any(|it| *it)),
        _ => None,
    }
}

/// What the other functions make of their arguments, which are as many as they take. `None`: they cannot.
fn of_terms(function: Function, terms: &[&Term]) -> Option<Value<'static>> {
    match *terms {
        [term] => of_one(function, term),
        [a, b] => of_two(function, a, b),
        [a, b, c] => of_three(function, a, b, c),
        _ => None,
    }
}

fn of_one(function: Function, term: &Term) -> Option<Value<'static>> {
    use Function::*;
    use TermKind as Kind;
    let kind = term.kind();
    let bytes = || term.as_bytes().map(<[u8]>::len);
    Some(match function {
        IsAtom => Value::Bool(matches!(kind, Kind::Atom(_))),
        IsBinary => Value::Bool(term.as_bytes().is_some()),
        IsFloat => Value::Bool(matches!(kind, Kind::Float(_))),
        IsInteger => Value::Bool(matches!(kind, Kind::Integer(_))),
        IsList => Value::Bool(matches!(kind, Kind::List(_))),
        IsMap => Value::Bool(matches!(kind, Kind::Map(_))),
        IsNumber => Value::Bool(matches!(kind, Kind::Integer(_) | Kind::Float(_))),
        IsPid => Value::Bool(matches!(kind, Kind::Pid(_))),
        IsReference => Value::Bool(matches!(kind, Kind::Monitor(_) | Kind::Timer(_))),
        IsTuple => Value::Bool(matches!(kind, Kind::Tuple(_))),
        // There are no such terms.
        IsFunction | IsPort => Value::Bool(false),
        Plus => match kind {
            Kind::Integer(_) | Kind::Float(_) => term.into(),
            _ => return None,
        },
        Minus => match *kind {
            Kind::Integer(number) => number.checked_neg()?.into(),
            Kind::Float(number) => (-number).into(),
            _ => return None,
        },
        Abs => match *kind {
            Kind::Integer(number) => number.checked_abs()?.into(),
            Kind::Float(number) => number.abs().into(),
            _ => return None,
        },
        Bnot => (!term.as_integer()?).into(),
        Round => whole(term, f64::round)?.into(),
        Trunc => whole(term, f64::trunc)?.into(),
        Float => number(term)?.into(),
        Hd => term.as_list()?.first()?.into(),
        Tl => Term::list(term.as_list()?.split_first()?.1).into(),
        Length => count(term.as_list()?.len())?,
        Size => count(bytes().or(term.as_tuple().map(<[Term]>::len))?)?,
        MapSize => count(term.as_map()?.len())?,
        ByteSize => count(bytes()?)?,
        BitSize => count(bytes()?.checked_mul(8)?)?,
        _ => return None,
    })
}

fn of_two(function: Function, a: &Term, b: &Term) -> Option<Value<'static>> {
    use Function::*;
    let order = || a.compare(b);
    let integers = || Some((a.as_integer()?, b.as_integer()?));
    Some(match function {
        Equal => Value::Bool(order().is_eq()),
        NotEqual => Value::Bool(order().is_ne()),
        Same => Value::Bool(a == b),
        NotSame => Value::Bool(a != b),
        Less => Value::Bool(order().is_lt()),
        LessOrEqual => Value::Bool(order().is_le()),
        Greater => Value::Bool(order().is_gt()),
        GreaterOrEqual => Value::Bool(order().is_ge()),
        Plus => arithmetic(a, b, i64::checked_add, |a, b| a + b)?,
        Minus => arithmetic(a, b, i64::checked_sub, |a, b| a - b)?,
        Times => arithmetic(a, b, i64::checked_mul, |a, b| a * b)?,
        // By zero, also of zeros, there is nothing finite.
        Over => finite(number(a)? / number(b)?)?,
        Div => integers().and_then(|(a, b)| a.checked_div(b))?.into(),
        Rem => match integers()? {
            (_, 0) => return None,
            // What is left of the least number divided by -1 is 0, though that does not fit.
            (a, b) => a.wrapping_rem(b).into(),
        },
        Band => integers().map(|(a, b)| a & b)?.into(),
        Bor => integers().map(|(a, b)| a | b)?.into(),
        Bxor => integers().map(|(a, b)| a ^ b)?.into(),
        Bsl => integers()
            .and_then(|(a, by)| shift(a, i128::from(by)))?
            .into(),
        Bsr => integers()
            .and_then(|(a, by)| shift(a, -i128::from(by)))?
            .into(),
        Element => {
            let at = usize::try_from(a.as_integer()?).ok()?.checked_sub(1)?;
            b.as_tuple()?.get(at)?.into()
        }
        MapGet => b.as_map()?.get(a)?.into(),
        IsMapKey => Value::Bool(b.as_map()?.get(a).is_some()),
        _ => return None,
    })
}

fn of_three(function: Function, a: &Term, b: &Term, c: &Term) -> Option<Value<'static>> {
    match function {
        Function::IsRecord => {
            let size = usize::try_from(c.as_integer()?).ok()?;
            b.as_atom()?;
            let is = |parts: &[Term]| parts.len() == size && parts.first() == Some(b);
            Some(Value::Bool(a.as_tuple().is_some_and(is)))
        }
        Function::BinaryPart => {
            let bytes = a.as_bytes()?;
            let (start, len) = (b.as_integer()?, c.as_integer()?);
            let end = start.checked_add(len)?;
            let (from, to) = (start.min(end), start.max(end));
            let part = bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?;
            Some(part.into())
        }
        _ => None,
    }
}

fn number(term: &Term) -> Option<f64> {
    match *term.kind() {
        TermKind::Integer(number) => Some(number as f64),
        TermKind::Float(number) => Some(number),
        _ => None,
    }
}

fn finite(number: f64) -> Option<Value<'static>> {
    number.is_finite().then(|| number.into())
}

fn count(count: usize) -> Option<Value<'static>> {
    Some(Term::try_from(count).ok()?.into())
}

fn arithmetic(
    a: &Term,
    b: &Term,
    integers: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Option<Value<'static>> {
    match (a.as_integer(), b.as_integer()) {
        (Some(a), Some(b)) => Some(integers(a, b)?.into()),
        _ => finite(floats(number(a)?, number(b)?)),
    }
}

/// A number without its fraction.
fn whole(term: &Term, round: fn(f64) -> f64) -> Option<i64> {
    match *term.kind() {
        TermKind::Integer(number) => Some(number),
        TermKind::Float(number) => {
            let whole = round(number);
            // 2^63, which no i64 reaches; its negative is one.
            const BEYOND: f64 = 9_223_372_036_854_775_808.0;
            (-BEYOND..BEYOND).contains(&whole).then_some(whole as i64)
        }
        _ => None,
    }
}

/// A number shifted to the left, or to the right by a negative number of bits.
fn shift(number: i64, by: i128) -> Option<i64> {
    match by {
        _ if number == 0 => Some(0),
        63.. => None,
        0..=62 => i64::try_from(i128::from(number) << by).ok(),
        _ => Some(number >> by.unsigned_abs().min(63)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_exact_or_not_done() {
        assert_eq!(shift(1, 62), Some(1 << 62));
        assert_eq!(shift(1, 63), None);
        assert_eq!(shift(-1, 62), Some(-1 << 62));
        assert_eq!(shift(-1, 63), None);
        assert_eq!(shift(3, 62), None);
        assert_eq!(shift(0, 1 << 70), Some(0));
        assert_eq!(shift(-5, -1), Some(-3));
        assert_eq!(shift(-5, -1000), Some(-1));
        assert_eq!(shift(5, -1000), Some(0));
        assert_eq!(shift(5, -i128::from(i64::MIN)), None);
    }

    #[test]
    fn a_function_is_found_by_its_name_and_number_of_arguments() {
        assert_eq!(Function::find("+", 1), Some(Function::Plus));
        assert_eq!(Function::find("+", 3), None);
        assert_eq!(Function::find("and", 7), Some(Function::And));
        assert_eq!(Function::find("and", 0), None);
        assert_eq!(Function::find("self", 0), None);
    }
}
