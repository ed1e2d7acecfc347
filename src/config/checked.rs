//! Templates of a section; their mistakes are recorded in the section.

use super::advice;
use super::section::Section;
use crate::template::Template;
use crate::template::context::VARIABLES;
use crate::template::jinja;

/// Returns a template of a section after recording its unknown variables and other mistakes.
pub fn noted<T: Uses>(section: &Section, key: &str, made: Result<T, String>) -> Option<T> {
    let noted = |problem| section.problem(key, format!("`{key}`: {problem}"));
    let made = made.map_err(noted).ok()?;
    for name in made.unknown_variables() {
        let hint = advice::variable(&name, &VARIABLES);
        let problem = format!("unknown variable `{name}`{hint}");
        let source = section.template(key).unwrap_or_default();
        section.problem(key, jinja::at_variable(problem, source, &name));
    }
    Some(made)
}

/// A value that refers to variables.
pub trait Uses {
    fn unknown_variables(&self) -> Vec<String>;
}

impl Uses for Template {
    fn unknown_variables(&self) -> Vec<String> {
        Template::unknown_variables(self)
    }
}
