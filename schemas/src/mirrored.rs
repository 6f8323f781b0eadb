//! Enums that the wire has too: one of ours beside each generated one, and the way both ways.

macro_rules! mirrored {
    ($(#[$doc:meta])* $name:ident = $wire:ident { $($(#[$each:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$each])* $variant),*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[$name] = &[$($name::$variant),*];
        }

        impl From<$name> for $wire {
            fn from(value: $name) -> $wire {
                match value {
                    $($name::$variant => $wire::$variant),*
                }
            }
        }

        impl From<$wire> for $name {
            fn from(value: $wire) -> $name {
                match value {
                    $($wire::$variant => $name::$variant),*
                }
            }
        }
    };
}

pub(crate) use mirrored;
