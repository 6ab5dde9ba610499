//! Whether there is an Erlang to compare with.

use std::process::Command;

/// `false`: there is none, which was said.
///
/// # Panics
/// If there is none though NOEX_REQUIRE_ERLANG=1 asks for it.
pub(crate) fn erlang() -> bool {
    let erl = Command::new("erl").arg("-version").output();
    if erl.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("NOEX_REQUIRE_ERLANG").is_some_and(|it| it == "1");
    assert!(!required, "erl is missing: apt-get install erlang-base");
    eprintln!("skipped: there is no erl to compare with");
    false
}
