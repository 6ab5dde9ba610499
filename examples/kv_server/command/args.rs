//! The arguments of each command, read into a [`Command`].
//!
//! A function here is called only for a request with the number of words that the
//! [`table`] demands, so the words it asks for are there.

use super::error::quote;
use super::table::{self, Spec};
use super::{Command, CommandError};
use crate::resp::{Bytes, Proto, Reply, Request, integer};
use crate::store::{Condition, ExpireIf, Lifetime, Op, Set, Unit};

type Parsed = Result<Command, CommandError>;

/// The latest moment, in milliseconds, that an expiry may name. Redis adds a time to live to the
/// milliseconds since 1970 and refuses what overflows; this leaves room for those till 2109, so
/// that the answer depends on the request alone.
const LATEST: i64 = i64::MAX - (1 << 42);

fn word<'a>(request: &Request<'a>, index: usize) -> &'a [u8] {
    request.get(index).unwrap_or_default()
}

fn bytes(request: &Request<'_>, index: usize) -> Bytes {
    Bytes::from(word(request, index))
}

fn int(request: &Request<'_>, index: usize) -> Result<i64, CommandError> {
    integer(word(request, index)).ok_or(CommandError::NotAnInteger)
}

/// The words from `first` on.
fn rest(request: &Request<'_>, first: usize) -> Vec<Bytes> {
    request.iter().skip(first).map(Bytes::from).collect()
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

pub(super) fn get(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::Get(bytes(request, 1))))
}

pub(super) fn set(spec: &'static Spec, request: &Request<'_>) -> Parsed {
    let mut condition = Condition::Always;
    let mut get = false;
    let mut keep = false;
    let mut expire = None;
    let mut words = request.iter().enumerate().skip(3);
    while let Some((_, option)) = words.next() {
        let unit = if is(option, "EX") {
            Unit::Seconds
        } else {
            Unit::Millis
        };
        if is(option, "NX") && condition != Condition::IfPresent {
            condition = Condition::IfAbsent;
        } else if is(option, "XX") && condition != Condition::IfAbsent {
            condition = Condition::IfPresent;
        } else if is(option, "GET") {
            get = true;
        } else if is(option, "KEEPTTL") && expire.is_none() {
            keep = true;
        } else if (is(option, "EX") || is(option, "PX"))
            && !keep
            && expire.is_none_or(|(_, other)| other == unit)
        {
            let (at, _) = words.next().ok_or(CommandError::Syntax)?;
            expire = Some((at, unit));
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let lifetime = match expire {
        Some((at, unit)) => {
            let after = millis(spec, int(request, at)?, unit)?;
            match u64::try_from(after) {
                Ok(after @ 1..) => Lifetime::Millis(after),
                _ => return Err(CommandError::ExpireTime(spec.name)),
            }
        }
        None if keep => Lifetime::Keep,
        None => Lifetime::Endless,
    };
    Ok(Command::Data(Op::Set(Set {
        key: bytes(request, 1),
        value: bytes(request, 2),
        lifetime,
        condition,
        get,
    })))
}

/// A time to live in milliseconds, if its end can be written down.
fn millis(spec: &'static Spec, after: i64, unit: Unit) -> Result<i64, CommandError> {
    let after = match unit {
        Unit::Seconds => after.checked_mul(1000),
        Unit::Millis => Some(after),
    };
    after
        .filter(|&after| after <= LATEST)
        .ok_or(CommandError::ExpireTime(spec.name))
}

pub(super) fn incr(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::IncrBy(bytes(request, 1), 1)))
}

pub(super) fn decr(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::IncrBy(bytes(request, 1), -1)))
}

pub(super) fn incr_by(_: &'static Spec, request: &Request<'_>) -> Parsed {
    let step = int(request, 2)?;
    Ok(Command::Data(Op::IncrBy(bytes(request, 1), step)))
}

pub(super) fn decr_by(_: &'static Spec, request: &Request<'_>) -> Parsed {
    let step = int(request, 2)?
        .checked_neg()
        .ok_or(CommandError::DecrementOverflow)?;
    Ok(Command::Data(Op::IncrBy(bytes(request, 1), step)))
}

pub(super) fn mget(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::MGet(rest(request, 1))))
}

pub(super) fn mset(spec: &'static Spec, request: &Request<'_>) -> Parsed {
    if request.len() % 2 == 0 {
        return Err(CommandError::Arity(spec.name));
    }
    let pairs = (1..request.len())
        .step_by(2)
        .map(|at| (bytes(request, at), bytes(request, at + 1)))
        .collect();
    Ok(Command::Data(Op::MSet(pairs)))
}

pub(super) fn del(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::Del(rest(request, 1))))
}

pub(super) fn exists(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::Exists(rest(request, 1))))
}

pub(super) fn expire(spec: &'static Spec, request: &Request<'_>) -> Parsed {
    expire_in(spec, request, Unit::Seconds)
}

pub(super) fn pexpire(spec: &'static Spec, request: &Request<'_>) -> Parsed {
    expire_in(spec, request, Unit::Millis)
}

fn expire_in(spec: &'static Spec, request: &Request<'_>, unit: Unit) -> Parsed {
    let mut when = ExpireIf::default();
    for option in request.iter().skip(3) {
        let flag = match option.to_ascii_uppercase().as_slice() {
            b"NX" => &mut when.nx,
            b"XX" => &mut when.xx,
            b"GT" => &mut when.gt,
            b"LT" => &mut when.lt,
            _ => return Err(CommandError::ExpireOption(quote(option, option.len()))),
        };
        *flag = true;
    }
    if when.nx && (when.xx || when.gt || when.lt) {
        return Err(CommandError::ExpireNxAndOther);
    }
    if when.gt && when.lt {
        return Err(CommandError::ExpireGtAndLt);
    }
    let after = millis(spec, int(request, 2)?, unit)?;
    Ok(Command::Data(Op::Expire {
        key: bytes(request, 1),
        after,
        when,
    }))
}

pub(super) fn ttl(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::Ttl(bytes(request, 1), Unit::Seconds)))
}

pub(super) fn pttl(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::Ttl(bytes(request, 1), Unit::Millis)))
}

pub(super) fn persist(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::Persist(bytes(request, 1))))
}

pub(super) fn dbsize(_: &'static Spec, _: &Request<'_>) -> Parsed {
    Ok(Command::Data(Op::DbSize))
}

/// `FLUSHALL` and `FLUSHDB`, which mean the same where there is one database. Either way the
/// memory is given back before the answer comes.
pub(super) fn flush(_: &'static Spec, request: &Request<'_>) -> Parsed {
    match request.get(1) {
        None => {}
        Some(how) if request.len() == 2 && (is(how, "SYNC") || is(how, "ASYNC")) => {}
        Some(_) => return Err(CommandError::Syntax),
    }
    Ok(Command::Data(Op::Flush))
}

pub(super) fn publish(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Publish {
        channel: bytes(request, 1),
        message: bytes(request, 2),
    })
}

pub(super) fn subscribe(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Subscribe(rest(request, 1)))
}

pub(super) fn unsubscribe(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Unsubscribe(rest(request, 1)))
}

pub(super) fn ping(spec: &'static Spec, request: &Request<'_>) -> Parsed {
    match request.len() {
        1 | 2 => Ok(Command::Ping(request.get(1).map(Bytes::from))),
        _ => Err(CommandError::Arity(spec.name)),
    }
}

pub(super) fn echo(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Answer(Reply::Bulk(bytes(request, 1))))
}

pub(super) fn info(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Info(rest(request, 1)))
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`. As no password is set, any will do. Redis 7.0
/// keeps a name although a later option is wrong; here nothing happens unless all is right.
pub(super) fn hello(_: &'static Spec, request: &Request<'_>) -> Parsed {
    let proto = match request.get(1).map(integer) {
        None => None,
        Some(None) => return Err(CommandError::ProtocolVersion),
        Some(Some(2)) => Some(Proto::Resp2),
        Some(Some(3)) => Some(Proto::Resp3),
        Some(Some(_)) => return Err(CommandError::UnsupportedProtocol),
    };
    let mut name = None;
    let mut at = 2;
    while let Some(option) = request.get(at) {
        match (request.get(at + 1), request.get(at + 2)) {
            (Some(user), Some(_)) if is(option, "AUTH") => {
                if user != b"default" {
                    return Err(CommandError::WrongPassword);
                }
                at += 3;
            }
            (Some(new), _) if is(option, "SETNAME") => {
                name = Some(plain(new).ok_or(CommandError::ClientName)?);
                at += 2;
            }
            _ => return Err(CommandError::HelloOption(quote(option, option.len()))),
        }
    }
    Ok(Command::Hello { proto, name })
}

/// A word that can stand in a list of clients without confusing its readers.
fn plain(word: &[u8]) -> Option<Bytes> {
    word.iter()
        .all(|byte| (b'!'..=b'~').contains(byte))
        .then(|| Bytes::from(word))
}

/// `CLIENT` and `CONFIG` alone, which have too few words to come here.
pub(super) fn no_subcommand(spec: &'static Spec, _: &Request<'_>) -> Parsed {
    Err(CommandError::Arity(spec.name))
}

pub(super) fn client_id(_: &'static Spec, _: &Request<'_>) -> Parsed {
    Ok(Command::ClientId)
}

pub(super) fn client_get_name(_: &'static Spec, _: &Request<'_>) -> Parsed {
    Ok(Command::ClientGetName)
}

pub(super) fn client_set_name(_: &'static Spec, request: &Request<'_>) -> Parsed {
    let name = plain(word(request, 2)).ok_or(CommandError::ClientName)?;
    Ok(Command::ClientSetName(name))
}

/// As Redis 7.2 has it. What the client says is checked and not kept: nothing asks for it.
pub(super) fn client_set_info(_: &'static Spec, request: &Request<'_>) -> Parsed {
    let option = word(request, 2);
    let name = if is(option, "LIB-NAME") {
        "lib-name"
    } else if is(option, "LIB-VER") {
        "lib-ver"
    } else {
        return Err(CommandError::ClientInfoOption(quote(option, option.len())));
    };
    match plain(word(request, 3)) {
        Some(_) => Ok(Command::Answer(Reply::OK)),
        None => Err(CommandError::ClientInfo(name)),
    }
}

pub(super) fn config_get(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::ConfigGet(rest(request, 2)))
}

pub(super) fn command_count(_: &'static Spec, _: &Request<'_>) -> Parsed {
    Ok(Command::Answer(table::count()))
}

/// `COMMAND` and `COMMAND INFO [name ...]`.
pub(super) fn command_info(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Answer(table::info(request.iter().skip(2))))
}

pub(super) fn command_docs(_: &'static Spec, request: &Request<'_>) -> Parsed {
    Ok(Command::Answer(table::docs(request.iter().skip(2))))
}

/// `COMMAND LIST`, without its filters.
pub(super) fn command_list(_: &'static Spec, request: &Request<'_>) -> Parsed {
    if request.len() > 2 {
        return Err(CommandError::Syntax);
    }
    Ok(Command::Answer(table::list()))
}

pub(super) fn select(_: &'static Spec, request: &Request<'_>) -> Parsed {
    match i32::try_from(int(request, 1)?) {
        Ok(0) => Ok(Command::Answer(Reply::OK)),
        Ok(_) => Err(CommandError::DbIndex),
        Err(_) => Err(CommandError::NotAnInt32),
    }
}

pub(super) fn quit(_: &'static Spec, _: &Request<'_>) -> Parsed {
    Ok(Command::Quit)
}

pub(super) fn reset(_: &'static Spec, _: &Request<'_>) -> Parsed {
    Ok(Command::Reset)
}

/// `DEBUG PANIC <shard>`. Redis's own `DEBUG PANIC` crashes the server.
pub(super) fn debug(_: &'static Spec, request: &Request<'_>) -> Parsed {
    let name = word(request, 1);
    if !is(name, "PANIC") || request.len() != 3 {
        return Err(CommandError::DebugUsage(quote(name, 128)));
    }
    let shard = usize::try_from(int(request, 2)?).map_err(|_| CommandError::NoSuchShard)?;
    Ok(Command::DebugPanic(shard))
}
