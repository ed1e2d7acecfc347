//! A configuration file that is complete on its own: other sections than a `plugin_config.ini`, and no levels.

use std::path::Path;
use std::rc::Rc;

use super::entry::File;
use super::problem::Problem;
use super::section::Section;
use super::{ini, levels, section_of};

/// Reads the sections of a file, or returns every problem that keeps it from being read.
pub fn read(path: &Path) -> Result<Vec<Section>, Vec<Problem>> {
    let place = path.display();
    let problem = |text: String| vec![Problem::new(place.to_string(), text)];
    let content = levels::read(path).map_err(problem)?;
    let content = content.ok_or_else(|| problem("does not exist".to_owned()))?;
    let file = Rc::new(File {
        path: path.to_owned(),
        exposed: content.exposed,
    });
    let sections = ini::parse(&content.bytes).map_err(|faults| {
        let faults = faults.into_iter();
        let faults = faults.map(|one| Problem::new(format!("{place}:{}", one.line), one.text));
        faults.collect::<Vec<_>>()
    })?;
    let sections = sections.into_iter();
    Ok(sections.map(|section| section_of(&file, section)).collect())
}
