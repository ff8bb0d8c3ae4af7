//! `list`: the scenarios that are built in.

use djembe_sim::scenario::{SHIPPED, Scenario};

use super::{Done, print, print_json};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A scenario in a line.
#[derive(serde::Serialize)]
struct Listed {
    name: &'static str,
    nodes: usize,
    /// Virtual seconds.
    seconds: f64,
    about: String,
}

/// What is printed for machines.
#[derive(serde::Serialize)]
struct List {
    scenarios: Vec<Listed>,
}

pub(super) fn run(args: &Args) -> Done {
    let all = SHIPPED.into_iter().map(|(name, text)| {
        let scenario = Scenario::parse(text, &[]).map_err(|error| format!("{name}: {error}"))?;
        let (nodes, seconds) = (scenario.nodes, scenario.duration.as_secs_f64());
        Ok(Listed { name, nodes, seconds, about: about(text) })
    });
    let scenarios = all.collect::<Result<Vec<Listed>, String>>()?;
    if args.json {
        print_json(&List { scenarios })?;
        return Ok(true);
    }
    let mut table = String::new();
    for Listed { name, nodes, seconds, about } in &scenarios {
        table += &format!("{name:<18}{nodes:>8} nodes {seconds:>4} s  {about}\n");
    }
    print(&table);
    Ok(true)
}

/// The first sentence of the comment that a scenario begins with.
fn about(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    let comment = lines.collect::<Vec<_>>().join(" ");
    // A question keeps its mark, and what is for the command line is in no sentence.
    let ends = [(". ", 0), ("? ", 1), (": --set ", 0)];
    let ends = ends.into_iter().filter_map(|(end, keeps)| Some(comment.find(end)? + keeps));
    let end = ends.min().unwrap_or(comment.len());
    comment[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_told_of_in_a_sentence() {
        assert_eq!(
            about("# One thing\n# goes on. Another does not.\n\n# else\nnodes = 3\n"),
            "One thing goes on"
        );
        assert_eq!(about("nodes = 3\n"), "");
        assert!(SHIPPED.iter().all(|(_, text)| about(text).len() > 20), "each says what it is");
    }
}
