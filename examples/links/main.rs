//! What can be reached from a page, as links come: a cycle.
//!
//! ```text
//! egret stream --data egret-data create links
//! printf '/ /a\n/b /c\n/a /b\n' | egret stream --data egret-data append links
//! cargo run --release --example links -- --workers 2 &
//! egret stream --data egret-data tail reached
//! ```
//! Each line is a link, from one page to another. A page that is reached tells those it links to that they are, and
//! they are other keys, at whichever task: so that goes back to the bolt it came from, until nobody hears of it for the first
//! time. Whatever ends the program, each page is in `reached` once: who is still to be told is part of each commit, and
//! can be seen as `egret state --data egret-data scan links again.back`.

use egret::{
    Args, Blob, ComponentResult, Context, Either, Emitter, KeyedBolt, LogSink, LogSpout,
    TopologyBuilder,
};

/// Where the links come from, and where pages go that are reached.
const FROM: &str = "links";
const TO: &str = "reached";

/// What a page is told: that it has a link to another one, or that it is reached.
type Told = (String, Option<String>);

/// What is known of a page.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Page {
    reached: bool,
    /// Where it links to, as long as it is not reached.
    links: Vec<String>,
}

struct Visit;

impl KeyedBolt<str, Told, Either<Told, String>> for Visit {
    type State = Page;

    fn execute(
        &mut self,
        url: &str,
        page: &mut Page,
        (_, link): Told,
        out: &mut Emitter<Either<Told, String>>,
        _: &Context,
    ) -> ComponentResult {
        // Everything begins at the root.
        if !page.reached && (link.is_none() || url == "/") {
            page.reached = true;
            out.emit(Either::Right(url.to_owned()));
            page.links.drain(..).for_each(|to| out.emit(Either::Left((to, None))));
        }
        match link {
            Some(to) if page.reached => out.emit(Either::Left((to, None))),
            Some(to) => page.links.push(to),
            None => {}
        }
        Ok(())
    }
}

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let tasks = args.run.tasks();
    let lines = t.spout("links", tasks, LogSpout::<Blob>::from_stream(FROM))?;
    let links = lines.shuffle().bolt("parse", tasks, || {
        |line: Blob, out: &mut Emitter<Told>| {
            let line = String::from_utf8_lossy(&line);
            let link =
                line.split_once(' ').map(|(from, to)| (from.to_owned(), Some(to.to_owned())));
            link.into_iter().for_each(|link| out.emit(link));
        }
    })?;
    let (back, again) = t.feedback::<Told>("again", tasks)?;
    let told = links.union(&back)?;
    let visited = told.fields(|(url, _)| url.as_str()).keyed("visit", tasks, || Visit)?;
    let (next, reached) = visited.split();
    again.connect(next.local_or_shuffle())?;
    reached.sink("reached", LogSink::to_stream(TO))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
