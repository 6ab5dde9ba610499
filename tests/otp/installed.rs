//! Whether there is something to compare with: an Erlang, an Elixir.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `false`: there is no Erlang, which was said.
///
/// # Panics
/// If there is none though NOEX_REQUIRE_ERLANG=1 asks for it.
pub(crate) fn erlang() -> bool {
    let erl = Command::new("erl").arg("-version").output();
    let installed = erl.is_ok_and(|output| output.status.success());
    if !installed {
        missing("erl", "erlang-base", "NOEX_REQUIRE_ERLANG");
    }
    installed
}

/// Where Elixir's modules are; `None`: there is no Elixir, which was said.
///
/// # Panics
/// If there is none though NOEX_REQUIRE_ELIXIR=1 asks for it.
#[allow(dead_code)] // not every test that asks for Erlang asks for Elixir
pub(crate) fn elixir() -> Option<PathBuf> {
    let ask = "IO.write(:code.lib_dir(:elixir))";
    let elixir = Command::new("elixir").args(["-e", ask]).output();
    let ebin = elixir.ok().and_then(|output| {
        let lib = String::from_utf8(output.stdout).ok()?;
        output
            .status
            .success()
            .then(|| Path::new(&lib).join("ebin"))
    });
    if ebin.is_none() {
        missing("elixir", "elixir", "NOEX_REQUIRE_ELIXIR");
    }
    ebin
}

fn missing(command: &str, package: &str, required: &str) {
    let required = std::env::var_os(required).is_some_and(|it| it == "1");
    assert!(!required, "{command} is missing: apt-get install {package}");
    eprintln!("skipped: there is no {command} to compare with");
}
