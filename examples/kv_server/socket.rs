//! A client's socket, for a process to wait on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;

use crate::reactor::{Reactor, Registered};

pub(crate) struct Socket(Registered<TcpStream>);

impl Socket {
    pub(crate) fn new(stream: TcpStream, reactor: &Arc<Reactor>) -> io::Result<Socket> {
        // Replies go out in one piece: there is nothing to gather.
        stream.set_nodelay(true)?;
        Ok(Socket(reactor.register(stream)?))
    }

    /// Waits until there may be something to read, or the end.
    pub(crate) async fn readable(&self) {
        self.0.source.readable().await;
    }

    /// Reads what is there. `None`: nothing. 0: the end.
    ///
    /// Unless it fills `space` there is no more, and what comes later makes it readable.
    pub(crate) fn read(&self, space: &mut [u8]) -> io::Result<Option<usize>> {
        attempt(|| (&self.0.io).read(space))
    }

    /// Writes all of `bytes`, waiting for room as often as need be.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match attempt(|| (&self.0.io).write(bytes))? {
                Some(0) => return Err(ErrorKind::WriteZero.into()),
                Some(count) => bytes = &bytes[count..],
                None => self.0.source.writable().await,
            }
        }
        Ok(())
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.0.io.shutdown(Shutdown::Write)
    }
}

/// `None`: it would block.
pub(crate) fn attempt<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match operation() {
            Ok(done) => return Ok(Some(done)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
