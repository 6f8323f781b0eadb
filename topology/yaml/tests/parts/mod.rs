//! Components that the files of these tests speak of.

use egret::{
    Blob, Bolt, ComponentResult, Context, Either, Emitter, KeyedBolt, Output, Rescale,
    StatefulBolt, Stream,
};
use egret_yaml::Registry;
use serde::Deserialize;

/// A tuple of its own, which is no record.
#[derive(Debug, Clone, PartialEq, serde::Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) customer: String,
    pub(crate) cents: u64,
    pub(crate) at_ms: i64,
}
impl egret::Tuple for Order {}

pub(crate) const BAD: Output<String> = Output::new("bad");

#[derive(Deserialize)]
struct Split {
    #[serde(default)]
    shortest: usize,
}

#[derive(Clone, Deserialize)]
struct Parse {
    delimiter: char,
}

impl Bolt<String, Order> for Parse {
    fn execute(&mut self, line: String, out: &mut Emitter<Order>, _: &Context) -> ComponentResult {
        let fields: Vec<&str> = line.split(self.delimiter).collect();
        let [customer, cents, at_ms] = fields[..] else {
            out.emit_to(&BAD, line);
            return Ok(());
        };
        let (cents, at_ms) = (cents.parse()?, at_ms.parse()?);
        out.emit(Order { customer: customer.to_owned(), cents, at_ms });
        Ok(())
    }
}

/// Counts a word.
pub(crate) struct Count;

impl KeyedBolt<str, String, (Blob, u64)> for Count {
    type State = u64;
    fn execute(
        &mut self,
        _: &str,
        n: &mut u64,
        _: String,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }
    fn flush(
        &mut self,
        word: &str,
        n: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

/// Adds up what a customer pays, up to a setting.
#[derive(Default)]
struct Sum {
    most: u64,
}

impl KeyedBolt<str, Order, (String, u64)> for Sum {
    type State = u64;
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.most = cx.config().get("most")?;
        Ok(())
    }
    fn execute(
        &mut self,
        customer: &str,
        sum: &mut u64,
        order: Order,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *sum = (*sum + order.cents).min(self.most);
        out.emit((customer.to_owned(), *sum));
        Ok(())
    }
}

/// Names who ordered.
struct Name;

impl KeyedBolt<str, Either<Order, String>, String> for Name {
    type State = Option<String>;
    fn execute(
        &mut self,
        _: &str,
        name: &mut Option<String>,
        tuple: Either<Order, String>,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        match tuple {
            Either::Left(order) => out.emit(format!("{name:?} {}", order.cents)),
            Either::Right(line) => *name = Some(line),
        }
        Ok(())
    }
}

/// Numbers lines.
struct Number;

impl StatefulBolt<String, String> for Number {
    type State = u64;
    fn execute(
        &mut self,
        n: &mut u64,
        line: String,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit(format!("{n} {line}"));
        Ok(())
    }
    fn rescale(&self) -> Rescale<u64> {
        Rescale::Merge(|n, more| *n += more)
    }
}

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.bolt("split", |args: Split| {
        move || {
            let shortest = args.shortest;
            move |line: String, out: &mut Emitter<String>| {
                let words = line.split_whitespace().filter(|word| word.len() >= shortest);
                words.for_each(|word| out.emit(word.to_owned()));
            }
        }
    });
    registry.bolt("parse", |args: Parse| move || args.clone()).output(&BAD);
    registry.keyed("count", |()| || Count);
    registry.keyed("sum", |()| Sum::default).by("customer");
    registry.joining_keyed("name", |()| || Name);
    registry.joining("both", |()| {
        || {
            |tuple: Either<Order, String>, out: &mut Emitter<String>| match tuple {
                Either::Left(order) => out.emit(order.customer),
                Either::Right(line) => out.emit(line),
            }
        }
    });
    registry.stateful("number", |()| || Number);
    registry.step("upper", |(), name, tasks, lines: &Stream<String>| {
        let upper = || |line: String, out: &mut Emitter<String>| out.emit(line.to_uppercase());
        lines.global().bolt(name, tasks, upper)
    });
    registry.sink("swallow", |()| || |_: Order| {});
    registry.key("customer", |order: &Order| order.customer.as_str());
    registry.key_by("cents", |order: &Order| order.cents);
    registry.key_by("length", |line: &String| line.len() as u64);
    registry.key("line", |line: &String| line.as_str());
    registry.task("by-length", |line: &String| u32::try_from(line.len() % 2).unwrap_or_default());
    registry.grouping("first", || |_: &String| 0u32);
    registry.time("at", |line: &String| i64::try_from(line.len()).unwrap_or_default());
    registry
}
