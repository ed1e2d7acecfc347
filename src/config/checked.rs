//! Templates of a section, with their mistakes noted there.

use super::advice;
use super::section::Section;
use crate::template::Template;
use crate::template::context::VARIABLES;

/// A template of a section, its unknown variables and what else is wrong noted.
pub fn noted<T: Uses>(section: &Section, key: &str, made: Result<T, String>) -> Option<T> {
    let noted = |problem| section.problem(key, format!("`{key}`: {problem}"));
    let made = made.map_err(noted).ok()?;
    for name in made.unknown_variables() {
        let hint = advice::variable(&name, &VARIABLES);
        section.problem(key, format!("unknown variable `{name}`{hint}"));
    }
    Some(made)
}

/// Something that names variables.
pub trait Uses {
    fn unknown_variables(&self) -> Vec<String>;
}

impl Uses for Template {
    fn unknown_variables(&self) -> Vec<String> {
        Template::unknown_variables(self)
    }
}
