//! Style and script of the page. Their names contain a hash of their content, so that browsers keep them.

use super::answer::{self, Answer};
use crate::net::digest::sha256_hex;

/// A file of the page.
#[derive(Clone, Copy)]
pub struct Asset {
    name: &'static str,
    ending: &'static str,
    kind: &'static str,
    body: &'static str,
}

/// The style of all pages.
pub const CSS: Asset = Asset {
    name: "page",
    ending: "css",
    kind: "text/css; charset=utf-8",
    body: include_str!("assets/page.css"),
};

/// The script of all pages.
pub const JS: Asset = Asset {
    name: "page",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    body: include_str!("assets/page.js"),
};

/// The script of the page on which templates are tried out.
pub const PREVIEW: Asset = Asset {
    name: "preview",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    body: include_str!("assets/preview.js"),
};

/// The icon of all pages.
pub const ICON: Asset = Asset {
    name: "icon",
    ending: "svg",
    kind: "image/svg+xml",
    body: include_str!("assets/icon.svg"),
};

fn hash(asset: Asset) -> String {
    let mut hash = sha256_hex(asset.body.as_bytes());
    hash.truncate(12);
    hash
}

/// Returns the path under which a file is served.
pub fn path(asset: Asset) -> String {
    let Asset { name, ending, .. } = asset;
    format!("/assets/{name}.{}.{ending}", hash(asset))
}

/// Returns the file of a path, if it is one.
pub fn get(wanted: &str) -> Option<Answer> {
    let mut all = [CSS, JS, PREVIEW, ICON].into_iter();
    let asset = all.find(|asset| path(*asset) == wanted)?;
    Some(answer::asset(asset.kind, asset.body, &hash(asset)))
}
