//! A connection's socket, for a process to wait on.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use async_io::Async;

pub(crate) struct Socket(Async<TcpStream>);

impl Socket {
    pub(crate) fn new(stream: Async<TcpStream>) -> io::Result<Socket> {
        // Replies go out in one piece: there is nothing to gather.
        stream.get_ref().set_nodelay(true)?;
        Ok(Socket(stream))
    }

    /// Waits until there is something to read, or the end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.0.poll_readable(cx)).await
    }

    /// Reads what is there. `None`: nothing. 0: the end.
    pub(crate) fn read(&self, space: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.0.get_ref().read(space) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all of `bytes`, waiting for room as often as need be.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.0.get_ref().write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.0.poll_writable(cx)).await?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.0.get_ref().shutdown(Shutdown::Write)
    }
}
