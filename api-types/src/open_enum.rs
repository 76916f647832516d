//! `open_enum!`: Go's named string types, whose constants are known but whose values stay open.
//!
//! A value that a newer server, or a mistaken user, sends is kept as `Other` and written back as
//! it came; validation decides what is refused. `Unset` is the empty string and the default.
//! Values are made with `From`, so that a known text never ends up in `Other`.

/// Declares an open enum and makes it a value of the API.
///
/// ```ignore
/// open_enum! {
///     /// When a stopped container is started again.
///     pub enum RestartPolicy { Always = "Always", OnFailure = "OnFailure", Never = "Never" }
/// }
/// ```
macro_rules! open_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        #[allow(clippy::enum_variant_names, reason = "the names are the API's")]
        pub enum $name {
            /// Not given: the empty string.
            #[default]
            Unset,
            $($variant,)*
            /// A value that this version does not know.
            Other(Box<str>),
        }

        impl $name {
            /// The values that have a variant of their own.
            pub const KNOWN: &'static [&'static str] = &[$($text),*];

            /// The text on the wire; empty for `Unset`.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::Unset => "",
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// Whether no value was given.
            pub fn is_unset(&self) -> bool {
                matches!(self, Self::Unset)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    "" => Self::Unset,
                    $($text => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.as_str() == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.as_str() == *text
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<::std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        // By text, as Go orders its strings.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> ::std::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl $crate::value::TextValue for $name {
            fn text(&self) -> &str {
                self.as_str()
            }

            fn set_text(&mut self, text: &str) {
                *self = Self::from(text);
            }
        }

        $crate::value::text_value!($name, [$($text),*]);
    };
}
pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use crate::core::v1::RestartPolicy;

    #[test]
    fn known_unknown_and_missing_values_keep_their_text() {
        assert_eq!(RestartPolicy::from("Never"), RestartPolicy::Never);
        assert_eq!(RestartPolicy::from("Sometimes").as_str(), "Sometimes");
        assert_eq!(RestartPolicy::from("Sometimes"), RestartPolicy::Other("Sometimes".into()));
        assert!(RestartPolicy::from("").is_unset());
        assert!(RestartPolicy::Always < RestartPolicy::Never);
        assert_eq!(RestartPolicy::OnFailure, "OnFailure");
        assert_eq!(format!("{:>6}", RestartPolicy::Never), " Never");
    }
}
