//! `merge`: the files of a sweep as one.

use core::ops::Range;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use djembe_sim::search::{self, Line, Merged};

use super::seeds;
use super::{Done, about, print, print_json};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files that `sweep` has written.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Which seeds there should be; without it, those between the first and the last.
    #[arg(long, value_name = "A..B", value_parser = seeds::range)]
    seeds: Option<Range<u64>>,
    /// Write all lines to this file, in the order of seeds.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let mut lines = Vec::new();
    for path in &args.files {
        lines.extend(read(path)?);
    }
    let merged = search::merge(lines, args.seeds.clone());
    if let Some(path) = &args.output {
        write(path, &merged).map_err(|error| about(path)(&error))?;
    }
    if args.json {
        print_json(&merged)?;
    } else {
        print(&merged.to_string());
    }
    Ok(merged.bad == 0 && merged.complaints.is_empty())
}

/// What a file of a sweep holds.
fn read(path: &Path) -> Result<Vec<Line>, String> {
    let file = File::open(path).map_err(|error| about(path)(&error))?;
    search::read_part(file).map_err(|error| about(path)(&error))
}

fn write(path: &Path, merged: &Merged) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in &merged.lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
