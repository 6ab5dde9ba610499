//! The start of a behaviour that is a server inside: as [`Start`](crate::gen_server::Start), with a
//! reference of the behaviour's own.

/// Makes a named future around the start of a server.
macro_rules! starts {
    ($(#[$doc:meta])* $name:ident $(<$param:ident: ($($bound:tt)+)>)?, $server:ty, $reference:ty) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// As [`StartError`](crate::StartError) says; after each of them the name is free.
        ///
        /// # Cancellation
        /// Dropping it does not stop what is started.
        #[must_use = "it starts, but whether it did is not looked at"]
        pub struct $name $(<$param: $($bound)+>)? {
            start: $crate::gen_server::Start<$server>,
        }

        impl $(<$param: $($bound)+>)? ::std::fmt::Debug for $name $(<$param>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name)).field("pid", &self.pid()).finish_non_exhaustive()
            }
        }

        impl $(<$param: $($bound)+>)? $name $(<$param>)? {
            pub(crate) fn new(start: $crate::gen_server::Start<$server>) -> Self {
                $name { start }
            }

            /// The pid, as soon as there is one.
            pub fn pid(&self) -> Option<$crate::Pid> {
                self.start.pid()
            }

            /// Blocks the calling thread until it has started. On the thread that drives a manual
            /// system this runs the system meanwhile.
            ///
            /// # Errors
            /// As the future itself; also that the caller must not block, or that a manual system has
            /// nothing left to run.
            pub fn wait(self) -> Result<$reference, $crate::StartError> {
                self.start.wait().map(<$reference>::new)
            }

            /// As [`wait`](Self::wait), for at most `timeout` from now; then what is being started is
            /// killed.
            ///
            /// # Errors
            /// As for [`wait`](Self::wait).
            pub fn wait_timeout(
                self,
                timeout: ::std::time::Duration,
            ) -> Result<$reference, $crate::StartError> {
                self.start.wait_timeout(timeout).map(<$reference>::new)
            }
        }

        impl $(<$param: $($bound)+>)? ::std::future::Future for $name $(<$param>)? {
            type Output = Result<$reference, $crate::StartError>;

            fn poll(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                ::std::pin::Pin::new(&mut self.start)
                    .poll(cx)
                    .map(|started| started.map(<$reference>::new))
            }
        }
    };
}
pub(crate) use starts;
