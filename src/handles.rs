//! The handles of behaviours that are servers inside: what a reference to any of them can do, and a name
//! of one.

/// What a reference has that leads to one process: it is cloned, compared and shown by its pid, it has
/// that, and knows whether the process lives. The struct is written by hand, as its documentation says
/// what it leads to; its fields are named here, the first being the reference inside.
///
/// ```ignore
/// handles! {
///     /// Asks the agent to stop. (What is documented here is `stop`.)
///     Agent<S: ('static)> { server }, "agent"
/// }
/// ```
macro_rules! handles {
    (
        $(#[$stop:meta])*
        $name:ident $(<$($param:ident: ($($bound:tt)+)),+>)? { $field:ident $(, $other:ident)* }, $noun:literal
    ) => {
        impl $(<$($param),+>)? Clone for $name $(<$($param),+>)? {
            fn clone(&self) -> Self {
                $name {
                    $field: self.$field.clone(),
                    $($other: self.$other.clone(),)*
                }
            }
        }

        /// Equal are those that lead to the same process.
        impl $(<$($param),+>)? PartialEq for $name $(<$($param),+>)? {
            fn eq(&self, other: &Self) -> bool {
                self.$field == other.$field
            }
        }

        impl $(<$($param),+>)? Eq for $name $(<$($param),+>)? {}

        impl $(<$($param),+>)? ::std::fmt::Debug for $name $(<$($param),+>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.pid()).finish()
            }
        }

        impl $(<$($param: $($bound)+),+>)? $crate::ChildPid for $name $(<$($param),+>)? {
            fn child_pid(&self) -> $crate::Pid {
                self.pid()
            }
        }

        impl $(<$($param),+>)? $name $(<$($param),+>)? {
            #[doc = concat!("The ", $noun, "'s pid.")]
            pub fn pid(&self) -> $crate::Pid {
                self.$field.pid()
            }

            /// Whether it lives.
            pub fn is_alive(&self) -> bool {
                self.$field.is_alive()
            }

            /// Why it exited; `None` while it lives.
            pub fn exit_reason(&self) -> Option<$crate::ExitReason> {
                self.$field.exit_reason()
            }

            $(#[$stop])*
            pub fn stop(&self, reason: $crate::ExitReason) -> $crate::Stop {
                self.$field.stop(reason)
            }
        }
    };
}
pub(crate) use handles;

/// What a reference by name has beside the requests that can be made of it: the name, and who has it now.
/// It has a field `server`, a [`Named`](crate::Named); `$live` is what it leads to.
macro_rules! named {
    ($name:ident<$param:ident: ($($bound:tt)+)>, $live:ident, $noun:literal) => {
        impl<$param> Clone for $name<$param> {
            fn clone(&self) -> Self {
                $name { server: self.server.clone() }
            }
        }

        impl<$param: $($bound)+> ::std::fmt::Debug for $name<$param> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.name()).finish()
            }
        }

        impl<$param: $($bound)+> $name<$param> {
            /// The name.
            pub fn name(&self) -> &$crate::Name {
                self.server.name()
            }

            #[doc = concat!("The live ", $noun, " that has the name now; `None`: nobody has it, or it is ")]
            #[doc = concat!("not such a ", $noun, ".")]
            pub fn resolve(&self) -> Option<$live<$param>> {
                self.server.resolve().map($live::new)
            }
        }
    };
}
pub(crate) use named;
