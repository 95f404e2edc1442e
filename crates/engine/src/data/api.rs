//! The Stable API, as a command asks for it.

/// The Stable API's fields of a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    pub version: Option<String>,
    pub strict: Option<bool>,
    pub deprecation_errors: Option<bool>,
}

impl Api {
    /// Only what belongs to the Stable API may be used.
    pub fn is_strict(&self) -> bool {
        self.strict == Some(true)
    }

    /// As errors show it.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.version.as_ref().map(|v| format!("apiVersion: \"{v}\"")));
        parts.extend(self.strict.map(|s| format!("apiStrict: {s}")));
        parts.extend(self.deprecation_errors.map(|d| format!("apiDeprecationErrors: {d}")));
        if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
    }
}
