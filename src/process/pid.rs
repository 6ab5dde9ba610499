//! The name of a process: small, `Copy`, never reused.

use std::fmt;

/// Identifies one incarnation of one process of one [`System`](crate::System), for ever: a slot that
/// is reused gets a new serial, and another system another creation, so an old pid never reaches
/// somebody else. OTP: `pid()`.
///
/// Printed as Erlang prints it, `<0.83.1>`; a process of a system that is not the program's first
/// has that system's number in front, `2:<0.83.1>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid {
    node: u32,
    creation: u32,
    id: u32,
    serial: u32,
}

impl Pid {
    pub(crate) fn local(creation: u32, id: u32, serial: u32) -> Self {
        Pid {
            node: 0,
            creation,
            id,
            serial,
        }
    }

    /// The node the process lives on; 0 is this one. Distribution gives others.
    pub fn node(self) -> u32 {
        self.node
    }

    /// The number of the process's slot.
    pub fn id(self) -> u32 {
        self.id
    }

    /// How often the slot had been used when the process was started, from 1.
    pub fn serial(self) -> u32 {
        self.serial
    }

    /// The number of the system, counted from 1 in the order of their making.
    pub fn creation(self) -> u32 {
        self.creation
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.creation > 1 {
            write!(f, "{}:", self.creation)?;
        }
        write!(f, "<{}.{}.{}>", self.node, self.id, self.serial)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one monitor. OTP: the reference that `erlang:monitor/2` returns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonitorRef(pub(crate) u64);

impl fmt::Debug for MonitorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Monitor<{}>", self.0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Pid;

    #[test]
    fn a_pid_is_printed_as_in_erlang_with_its_system_unless_that_is_the_first() {
        assert_eq!(Pid::local(1, 83, 1).to_string(), "<0.83.1>");
        assert_eq!(Pid::local(2, 83, 4).to_string(), "2:<0.83.4>");
        assert_eq!(format!("{:?}", Pid::local(1, 0, 1)), "<0.0.1>");
    }
}
