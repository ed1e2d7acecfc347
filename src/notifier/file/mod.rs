//! The kind `file`: a line of JSON for each event, appended to a file.

mod log;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;

use super::{Kind, Notifier, Sent};
use crate::config::advice::quoted;
use crate::config::checked::noted;
use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::content::Content;
use crate::message::{Message, MessageFormat, Receipts};
use crate::net::http::{ATTEMPT_TIMEOUT, Http};
use crate::notifier::file::log::{Log, Rotation};
use crate::notifier::format::Format;
use crate::secret;
use crate::template::Template;
use crate::template::limits::is_template;
use crate::text::{self, Escape};

/// Files, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "file",
    about: "appends the [outputs] as a line of JSON to a file",
    form: MessageFormat::Data,
    build,
};

/// Mode of a new file: its owner's alone, as it holds the output of tasks.
const MODE: u32 = 0o600;

struct File {
    place: Place,
    format: Format,
    content: Content,
    mode: u32,
    sync: bool,
    rotation: Option<Rotation>,
    timeout: Duration,
}

/// Path of the file.
enum Place {
    Fixed(PathBuf),
    /// A template, and the directory in front of its first tag, which no result may leave.
    Chosen {
        template: Template,
        folder: PathBuf,
    },
}

fn build(section: &Section, _: &Http) -> Option<Rc<dyn Notifier>> {
    let place = place(section);
    let format = Format::of(section);
    let content = Content::of(section);
    let mode = section.parsed("mode", MODE, mode);
    let sync = section.flag("fsync", true);
    let rotation = rotation(section);
    let timeout = section.time_limit(ATTEMPT_TIMEOUT);
    if matches!(place, Some(Place::Chosen { .. })) {
        section.no_batch("`batch` cannot be used with templates in `path`");
    }
    let place = place?;
    section.may_use("path").then(|| {
        Rc::new(File {
            place,
            format,
            content,
            mode,
            sync,
            rotation,
            timeout,
        }) as Rc<dyn Notifier>
    })
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| mode & 0o600 == 0o600 && mode & !0o664 == 0);
    let given = quoted(text);
    mode.ok_or_else(|| format!("`mode` must be 0600, 0640, 0644, 0660 or 0664, not {given}"))
}

fn rotation(section: &Section) -> Option<Rotation> {
    let is_on = section.is_given("max_size");
    for key in ["keep", "compress"] {
        if section.is_given(key) {
            section.needs(key, "max_size");
        }
    }
    let keep = section.count("keep", 5, 1000);
    let compress = section.flag("compress", false);
    is_on.then(|| Rotation {
        max_size: section.size("max_size", 64 << 20),
        keep,
        compress,
    })
}

fn place(section: &Section) -> Option<Place> {
    let Some(source) = section.template("path").filter(|text| is_template(text)) else {
        let path = section.path("path").or_else(|| section.missing("path"))?;
        return Some(Place::Fixed(path));
    };
    let source = source.trim();
    let fixed = source.split("{{").next().unwrap_or_default();
    let fixed = fixed.split("{%").next().unwrap_or_default();
    let Some((folder, _)) = fixed
        .rsplit_once('/')
        .filter(|(folder, _)| !folder.is_empty())
    else {
        let text = "`path` must begin with a directory, which the template cannot choose, such as /var/log/ansible/{{ host }}.jsonl";
        section.problem("path", text);
        return None;
    };
    let folder = section.resolved("path", &format!("{folder}/"));
    let rest = &source[fixed.rfind('/').map_or(0, |at| at + 1)..];
    // An inserted value cannot contain a slash.
    let template = noted(section, "path", Template::text(rest, Escape::Url))?;
    Some(Place::Chosen { template, folder })
}

impl Place {
    fn of(&self, message: &Message) -> Result<PathBuf, Failure> {
        let (template, folder) = match self {
            Place::Fixed(path) => return Ok(path.clone()),
            Place::Chosen { template, folder } => (template, folder),
        };
        let failed = |problem: &str| Failure::permanent(format!("`path`: {problem}"));
        let rest = template.render(&message.context);
        let rest = rest.map_err(|problem| failed(&problem))?;
        let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
        if rest.split('/').any(bad) {
            let shown = quoted(&rest);
            return Err(failed(&format!(
                "gives {shown}, which is no file in {}",
                folder.display()
            )));
        }
        Ok(folder.join(rest))
    }
}

impl File {
    /// Returns what is appended for a message: a line for each event.
    fn lines(&self, message: &Message) -> Result<Vec<u8>, Failure> {
        let pieces: Vec<Bytes> = match message.batch.is_empty() {
            true => vec![self.format.body(message)?],
            false => message.payloads(),
        };
        let is_json = matches!(self.content, Content::Json | Content::Form);
        let mut lines = Vec::new();
        for piece in pieces {
            let start = lines.len();
            lines.extend_from_slice(&piece);
            if is_json {
                // Between the values of JSON, a line break is a blank.
                let breaks = lines[start..].iter_mut();
                breaks
                    .filter(|byte| matches!(byte, b'\n' | b'\r'))
                    .for_each(|byte| *byte = b' ');
            }
            if lines.last() != Some(&b'\n') {
                lines.push(b'\n');
            }
        }
        Ok(lines)
    }

    fn log(&self, path: PathBuf) -> Log {
        Log {
            path,
            mode: self.mode,
            sync: self.sync,
            rotation: self.rotation,
            timeout: self.timeout,
        }
    }
}

/// Returns the nearest directory above a path that exists.
fn existing(path: &Path) -> &Path {
    let above = path.ancestors().skip(1);
    let mut above = above.filter(|folder| folder.is_dir());
    above.next().unwrap_or(Path::new("/"))
}

#[async_trait(?Send)]
impl Notifier for File {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let path = self.place.of(message)?;
        let shown = path.display().to_string();
        let lines = self.lines(message)?;
        let log = self.log(path);
        let appended = tokio::task::spawn_blocking(move || log.append(&lines)).await;
        let error = match appended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            return Err(Failure::retry(format!("{shown}: {error}")));
        }
        let reached = Receipts::from([(String::new(), None)]);
        Ok(Sent::to(1, reached, Vec::new()))
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let path = self.place.of(message)?;
        let lines = self.lines(message)?;
        let lines = String::from_utf8_lossy(&lines);
        let shown = format!("APPEND {}\n\n{}", path.display(), lines.trim_end());
        Ok(text::visible_lines(&secret::redact(&shown)))
    }

    async fn check(&self) -> Check {
        let path = match &self.place {
            Place::Fixed(path) => path.clone(),
            Place::Chosen { folder, .. } => folder.join("ansible-notify"),
        };
        let place = match path.is_file() {
            true => path.as_path(),
            false => existing(&path),
        };
        match rustix::fs::access(place, rustix::fs::Access::WRITE_OK) {
            Ok(()) => Check {
                steps: vec![format!("{} can be written", place.display())],
                error: None,
            },
            Err(error) => Check {
                error: Some(format!("{}: {error}", place.display())),
                ..Check::default()
            },
        }
    }
}
