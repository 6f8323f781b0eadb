//! Two things at once, in one task: whichever is done first.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// What was done first.
#[derive(Debug)]
pub(super) enum First<A, B> {
    /// The one named first, which also wins a tie.
    Left(A),
    /// The other.
    Right(B),
}

/// Does both until one is done; the other is dropped where it stands.
pub(super) async fn first<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> First<A, B> {
    let mut left = pin!(left);
    let mut right = pin!(right);
    poll_fn(|cx| {
        if let Poll::Ready(done) = left.as_mut().poll(cx) {
            return Poll::Ready(First::Left(done));
        }
        right.as_mut().poll(cx).map(First::Right)
    })
    .await
}
