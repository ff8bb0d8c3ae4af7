//! `compare`: two results side by side.

use std::fs::File;
use std::path::{Path, PathBuf};

use djembe_sim::search::{self, Line};

use super::{Done, about, print, print_json};

#[derive(clap::Args)]
pub(super) struct Args {
    /// What `sweep` or `merge` has written, or `run --json` printed, of one seed or several.
    a: PathBuf,
    /// Another.
    b: PathBuf,
    /// Fail unless both have the same seeds, and each was the same run: the same hash.
    #[arg(long)]
    same: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// It is good if the second found nothing that the first had not; and if they are the same, if they are to be.
pub(super) fn run(args: &Args) -> Done {
    let [a, b] = [read(&args.a)?, read(&args.b)?].map(|lines| search::merge(lines, None));
    let comparison = search::compare(&a, &b);
    if comparison.common == 0 {
        let [a, b] = [args.a.display(), args.b.display()];
        return Err(format!("{a} and {b} have no seed in common: nothing can be compared"));
    }
    if let Some((of_a, of_b)) = &comparison.of {
        eprintln!(
            "they are of different things: {} of {of_a}, {} of {of_b}",
            args.a.display(),
            args.b.display()
        );
    }
    if args.json {
        print_json(&comparison)?;
    } else {
        print(&comparison.to_string());
    }
    Ok(comparison.new.is_empty() && (!args.same || comparison.is_same()))
}

fn read(path: &Path) -> Result<Vec<Line>, String> {
    let file = File::open(path).map_err(|error| about(path)(&error))?;
    search::read_results(file).map_err(|error| about(path)(&error))
}
