//! Reasons why a folder cannot hold a spool, found without creating one.

use std::fs::{DirBuilder, remove_dir};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::folder::Limits;
use super::open;

/// Refuses a folder that cannot hold a spool, whether it exists or would have to be created.
pub fn check_folder(folder: &Path, limits: &Limits) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    let mut parents = folder.ancestors();
    let standing = parents.find(is_there).unwrap_or(&folder);
    if standing == folder {
        open::check_made(standing, limits)?;
        return write(standing)
            .with_context(|| format!("cannot write to `{}`", standing.display()));
    }
    let cannot = || format!("cannot create `{}`", folder.display());
    let parent = standing.display();
    let checked = match standing.is_dir() {
        true => write(standing).map_err(Into::into),
        false => Err(anyhow::anyhow!("`{parent}` is not a directory")),
    };
    checked.with_context(cannot)?;
    ensure!(
        limits.on_network || super::network::network_type(standing).is_none(),
        "{}: `{parent}` is on a network file system, where it is not safe; see `spool_on_network`",
        cannot()
    );
    Ok(())
}

/// Creates an empty directory for a moment. Permissions alone are not enough: read-only file systems have
/// them too.
fn write(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".ansible-notify-{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&probe)?;
    remove_dir(probe)
}
