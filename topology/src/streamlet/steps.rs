//! Steps without state, composed: what they do to a tuple is one function that the compiler sees whole.
//!
//! ```text
//! Then<Then<Nothing, FlatMap>, Filter>: tuple ──▶ flat_map ──▶ filter ──▶ emit
//! ```
//! Each hands what it makes to the next by a call that is known when it is compiled: no tuple is boxed, kept, or given
//! on through a table of functions, and what is between two steps need not be able to travel.

use std::fmt;
use std::marker::PhantomData;

use crate::component::{Bolt, ComponentResult, Context, Emitter};
use crate::{Either, Tuple};

/// Steps as they are wired, of which every task gets its own.
pub trait Steps<A>: Clone + Send + Sync + 'static {
    /// What comes of them.
    type Out: 'static;
    /// What one task has.
    type Work: Work<A, Out = Self::Out>;
    /// Makes it.
    fn work(&self) -> Self::Work;
    /// Adds what they are, in their order.
    fn words(&self, words: &mut Vec<&'static str>);
}

/// The steps of one task.
pub trait Work<A>: 'static {
    /// What comes of them.
    type Out;
    /// Before the first tuple.
    fn open(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }
    /// Hands what comes of a tuple to `next`.
    fn run<N>(&mut self, tuple: A, next: &mut N) -> ComponentResult
    where
        N: FnMut(Self::Out) -> ComponentResult;
    /// After the last commit.
    fn close(&mut self, cx: &Context) {
        let _ = cx;
    }
}

/// No step: a tuple comes out as it went in.
pub struct Nothing<A>(PhantomData<fn(A)>);

impl<A> Nothing<A> {
    pub(super) fn new() -> Nothing<A> {
        Nothing(PhantomData)
    }
}

impl<A> Clone for Nothing<A> {
    fn clone(&self) -> Self {
        Nothing::new()
    }
}

impl<A> fmt::Debug for Nothing<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

impl<A: 'static> Steps<A> for Nothing<A> {
    type Out = A;
    type Work = Nothing<A>;
    fn work(&self) -> Self {
        self.clone()
    }
    fn words(&self, _: &mut Vec<&'static str>) {}
}

impl<A: 'static> Work<A> for Nothing<A> {
    type Out = A;
    #[inline]
    fn run<N>(&mut self, tuple: A, next: &mut N) -> ComponentResult
    where
        N: FnMut(A) -> ComponentResult,
    {
        next(tuple)
    }
}

/// One after the other.
#[derive(Debug, Clone)]
pub struct Then<P, S>(pub(super) P, pub(super) S);

impl<A, P: Steps<A>, S: Steps<P::Out>> Steps<A> for Then<P, S> {
    type Out = S::Out;
    type Work = Then<P::Work, S::Work>;
    fn work(&self) -> Self::Work {
        Then(self.0.work(), self.1.work())
    }
    fn words(&self, words: &mut Vec<&'static str>) {
        self.0.words(words);
        self.1.words(words);
    }
}

impl<A, P: Work<A>, S: Work<P::Out>> Work<A> for Then<P, S> {
    type Out = S::Out;
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.0.open(cx)?;
        self.1.open(cx)
    }
    #[inline]
    fn run<N>(&mut self, tuple: A, next: &mut N) -> ComponentResult
    where
        N: FnMut(S::Out) -> ComponentResult,
    {
        let Then(first, second) = self;
        first.run(tuple, &mut |made| second.run(made, next))
    }
    fn close(&mut self, cx: &Context) {
        self.0.close(cx);
        self.1.close(cx);
    }
}

/// Makes a step of a function.
macro_rules! step {
    (
        $(#[$doc:meta])*
        $vis:vis $name:ident $word:literal <$($param:ident),*> [$($bound:tt)*] [$($more:tt)*] -> $out:ty,
        |$function:ident, $tuple:ident, $next:ident| $run:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone)]
        $vis struct $name<F>(pub(super) F);

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($word)
            }
        }

        impl<A: 'static, F, $($param: 'static),*> Steps<A> for $name<F>
        where
            F: $($bound)* + Clone + Send + Sync + 'static,
            $($more)*
        {
            type Out = $out;
            type Work = Self;
            fn work(&self) -> Self {
                self.clone()
            }
            fn words(&self, words: &mut Vec<&'static str>) {
                words.push($word);
            }
        }

        impl<A: 'static, F, $($param: 'static),*> Work<A> for $name<F>
        where
            F: $($bound)* + 'static,
            $($more)*
        {
            type Out = $out;
            #[inline]
            fn run<N>(&mut self, $tuple: A, $next: &mut N) -> ComponentResult
            where
                N: FnMut($out) -> ComponentResult,
            {
                let $function = &mut self.0;
                $run
            }
        }
    };
}

step! {
    /// One of each.
    pub Map "map" <B> [FnMut(A) -> B] [] -> B,
    |f, tuple, next| next(f(tuple))
}
step! {
    /// One of each, or an error.
    pub TryMap "try_map" <B> [FnMut(A) -> ComponentResult<B>] [] -> B,
    |f, tuple, next| next(f(tuple)?)
}
step! {
    /// Any number of each.
    pub FlatMap "flat_map" <I> [FnMut(A) -> I] [I: IntoIterator<Item: 'static>,] -> I::Item,
    |f, tuple, next| f(tuple).into_iter().try_for_each(next)
}
step! {
    /// Some of them.
    pub Filter "filter" <> [FnMut(&A) -> bool] [] -> A,
    |f, tuple, next| if f(&tuple) { next(tuple) } else { Ok(()) }
}
step! {
    /// One of some of them.
    pub FilterMap "filter_map" <B> [FnMut(A) -> Option<B>] [] -> B,
    |f, tuple, next| f(tuple).map_or(Ok(()), next)
}
step! {
    /// Themselves, to one of two sides.
    pub(super) Split "split" <> [FnMut(&A) -> bool] [] -> Either<A, A>,
    |f, tuple, next| next(if f(&tuple) { Either::Left(tuple) } else { Either::Right(tuple) })
}
step! {
    /// Themselves, looked at.
    pub Inspect "inspect" <> [FnMut(&A)] [] -> A,
    |f, tuple, next| {
        f(&tuple);
        next(tuple)
    }
}

/// A step with something of its own in each task: see [`Streamlet::transform`](super::Streamlet::transform).
///
/// What it keeps in itself is memory of its task, gone with it: it is for connections, buffers, compiled patterns, and
/// what must be there after a failure is kept by a [process function](super::KeyedStreamlet::process).
pub trait Transformer<A, B>: 'static {
    /// Called once, before the first tuple.
    fn setup(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Takes a tuple and hands on what comes of it. An error is that of the call: see
    /// [`OnError`](crate::OnError).
    fn transform(&mut self, tuple: A, out: &mut dyn FnMut(B)) -> ComponentResult;

    /// Called once, when the topology ended in order; not when a generation fails.
    fn cleanup(&mut self, cx: &Context) {
        let _ = cx;
    }
}

/// A transformer for each task.
pub struct Transforms<M, A, B>(M, PhantomData<fn(A) -> B>);

impl<M, A, B> Transforms<M, A, B> {
    pub(super) fn new(make: M) -> Transforms<M, A, B> {
        Transforms(make, PhantomData)
    }
}

impl<M: Clone, A, B> Clone for Transforms<M, A, B> {
    fn clone(&self) -> Self {
        Transforms::new(self.0.clone())
    }
}

impl<M, A, B> fmt::Debug for Transforms<M, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("transform")
    }
}

impl<M, X, A: 'static, B: 'static> Steps<A> for Transforms<M, A, B>
where
    M: Fn() -> X + Clone + Send + Sync + 'static,
    X: Transformer<A, B>,
{
    type Out = B;
    type Work = Transforming<X, A, B>;
    fn work(&self) -> Self::Work {
        Transforming((self.0)(), Vec::new(), PhantomData)
    }
    fn words(&self, words: &mut Vec<&'static str>) {
        words.push("transform");
    }
}

/// The transformer of one task, and what it handed on that was not taken yet.
#[derive(Debug)]
pub struct Transforming<X, A, B>(X, Vec<B>, PhantomData<fn(A)>);

impl<X: Transformer<A, B>, A: 'static, B: 'static> Work<A> for Transforming<X, A, B> {
    type Out = B;
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.0.setup(cx)
    }
    fn run<N>(&mut self, tuple: A, next: &mut N) -> ComponentResult
    where
        N: FnMut(B) -> ComponentResult,
    {
        let Transforming(transformer, made, _) = self;
        // What a call left that failed is not handed on.
        made.clear();
        transformer.transform(tuple, &mut |tuple| made.push(tuple))?;
        made.drain(..).try_for_each(next)
    }
    fn close(&mut self, cx: &Context) {
        self.0.cleanup(cx);
    }
}

/// The bolt that does some steps.
pub(super) struct StepsBolt<W>(pub(super) W);

impl<A, O: Tuple, W: Work<A, Out = O>> Bolt<A, O> for StepsBolt<W> {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.0.open(cx)
    }

    fn execute(&mut self, tuple: A, out: &mut Emitter<O>, _: &Context) -> ComponentResult {
        self.0.run(tuple, &mut |made| {
            out.emit(made);
            Ok(())
        })
    }

    fn close(&mut self, cx: &Context) {
        self.0.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<A, S: Steps<A>>(steps: &S, tuples: impl IntoIterator<Item = A>) -> Vec<S::Out> {
        let (mut work, mut made) = (steps.work(), Vec::new());
        for tuple in tuples {
            let done = work.run(tuple, &mut |tuple| {
                made.push(tuple);
                Ok(())
            });
            done.unwrap();
        }
        made
    }

    #[test]
    fn steps_do_what_iterators_do() {
        let words = FlatMap(|line: &'static str| line.split(' '));
        let steps = Then(Then(Nothing::new(), words), Filter(|word: &&str| word.len() > 1));
        let steps = Then(steps, FilterMap(|word: &str| word.parse::<u32>().ok()));
        let steps = Then(steps, Map(|n: u32| n + 1));
        assert_eq!(all(&steps, ["10 a 7", "bc 20", ""]), [11, 21]);
        let mut words = Vec::new();
        Steps::<&'static str>::words(&steps, &mut words);
        assert_eq!(words, ["flat_map", "filter", "filter_map", "map"]);
    }

    #[test]
    fn each_task_has_its_own() {
        let mut n = 0;
        let steps = Then(
            Nothing::new(),
            Map(move |_: ()| {
                n += 1;
                n
            }),
        );
        assert_eq!((all(&steps, [(), ()]), all(&steps, [()])), (vec![1, 2], vec![1]));
    }

    /// Hands on what it gets, and then fails at 2.
    struct Late;

    impl Transformer<u32, u32> for Late {
        fn transform(&mut self, n: u32, out: &mut dyn FnMut(u32)) -> ComponentResult {
            out(n);
            if n == 2 { Err("two".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn what_a_failed_call_handed_on_is_of_no_later_one() {
        let steps = Then(Nothing::new(), Transforms::new(|| Late));
        let (mut work, mut made) = (Steps::<u32>::work(&steps), Vec::new());
        let mut run = |n| {
            work.run(n, &mut |n| {
                made.push(n);
                Ok(())
            })
        };
        assert_eq!([1, 2, 3].map(|n| run(n).is_ok()), [true, false, true]);
        assert_eq!(made, [1, 3]);
    }

    #[test]
    fn an_error_stops_at_its_tuple() {
        let steps =
            Then(Nothing::new(), TryMap(|n: u32| if n == 2 { Err("two".into()) } else { Ok(n) }));
        let mut seen = Vec::new();
        let mut work = Steps::<u32>::work(&steps);
        let mut run = |n| {
            work.run(n, &mut |n| {
                seen.push(n);
                Ok(())
            })
        };
        assert_eq!(
            (run(1).is_ok(), run(2).unwrap_err().to_string(), run(3).is_ok()),
            (true, "two".to_owned(), true)
        );
        assert_eq!(seen, [1, 3]);
    }
}
