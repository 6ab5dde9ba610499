//! The command line.

use std::num::NonZero;
use std::thread::available_parallelism;

pub(crate) const USAGE: &str = "\
A key-value server that speaks the protocol of Redis, on 127.0.0.1.

  --port PORT          where to listen; 0: at a free port [6379]
  --shards N           how many servers share the keys [one for each scheduler thread]
  --schedulers N       how many threads run them [one for each core]
  --output-limit BYTES how much a subscriber may be behind before it is disconnected [33554432]
  --restarts N         how many crashes a second are put up with [1000]
  --help               this
";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) shards: usize,
    pub(crate) schedulers: usize,
    pub(crate) output_limit: usize,
    /// The default of a supervisor, 3 in 5 s, would let anybody who may say `DEBUG PANIC` end us.
    pub(crate) restarts: u32,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(
        args: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<Options, lexopt::Error> {
        use lexopt::prelude::*;
        let mut parser = lexopt::Parser::from_args(args);
        let mut shards = None;
        let mut schedulers = available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let mut options = Options {
            port: 6379,
            shards: 0,
            schedulers: 0,
            output_limit: 32 * 1024 * 1024,
            restarts: 1000,
            help: false,
        };
        while let Some(arg) = parser.next()? {
            match arg {
                Long("port") => options.port = parser.value()?.parse()?,
                Long("shards") => shards = Some(parser.value()?.parse::<NonZero<usize>>()?),
                Long("schedulers") => schedulers = parser.value()?.parse()?,
                Long("output-limit") => options.output_limit = parser.value()?.parse()?,
                Long("restarts") => options.restarts = parser.value()?.parse()?,
                Long("help") | Short('h') => options.help = true,
                other => return Err(other.unexpected()),
            }
        }
        options.schedulers = schedulers.get();
        options.shards = shards.unwrap_or(schedulers).get();
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words = line.split_whitespace().map(Into::into);
        Options::parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn there_are_as_many_shards_as_threads_unless_said_otherwise() {
        let options = parse("--schedulers 3 --port=0").unwrap();
        assert_eq!((options.port, options.shards), (0, 3));
        assert_eq!(parse("--schedulers 3 --shards 5").unwrap().shards, 5);
        assert!(parse("-h").unwrap().help);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--shards 0",
            "--schedulers 0",
            "--port 65536",
            "--port",
            "--nosuch",
            "6379",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
