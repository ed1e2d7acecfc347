//! `[page]`: the address at which people see the page of `serve`, for links to it.

use url::Url;

use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::net::urls::parse_url;
use crate::text::Escape;

/// Name of the section.
pub const NAME: &str = "page";

/// Address of the page.
#[derive(Clone, Debug)]
pub struct PageAddress(String);

impl PageAddress {
    /// Reads the section; None without a usable address.
    pub fn read(section: &Section) -> Option<PageAddress> {
        let text = section.text("url")?;
        let url = parse_url(section, "url", text, Secrecy::Open)?;
        let is_bare = url.query().is_none() && url.fragment().is_none();
        if !is_bare || !url.username().is_empty() || url.password().is_some() {
            let text = "`url` must be the address of the page alone: no user, password, `?` or `#`";
            section.problem("url", text);
            return None;
        }
        Some(PageAddress(
            Url::as_str(&url).trim_end_matches('/').to_owned(),
        ))
    }

    /// Returns the address of a run, or of one of its results by the number of its event.
    pub fn of(&self, run: &str, result: Option<u64>) -> String {
        let PageAddress(base) = self;
        let id = Escape::Url.apply(run);
        match result {
            Some(number) => format!("{base}/runs/{id}/results/{number}"),
            None => format!("{base}/runs/{id}"),
        }
    }
}
