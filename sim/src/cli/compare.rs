//! `compare`: two results side by side.

use std::path::PathBuf;

use djembe_sim::search;

use super::merge::read;
use super::{Done, print, print_json};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A file of `sweep` or `merge`.
    a: PathBuf,
    /// Another.
    b: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// It is good if the second found nothing that the first had not.
pub(super) fn run(args: &Args) -> Done {
    let (a, b) = (search::merge(read(&args.a)?, None), search::merge(read(&args.b)?, None));
    let comparison = search::compare(&a, &b);
    if args.json {
        print_json(&comparison)?;
    } else {
        print(&comparison.to_string());
    }
    Ok(comparison.new.is_empty())
}
