//! What meets of the tuples of one window: everything on the left with everything on the right.

use crate::Either;

/// Says what meets, in the order of the left ones and then of the right ones; where one side has nothing, the other
/// one's tuples, each alone.
pub(super) fn pairs<A, B>(both: &[Either<A, B>], mut pair: impl FnMut(Option<&A>, Option<&B>)) {
    let left =
        || both.iter().filter_map(|one| if let Either::Left(a) = one { Some(a) } else { None });
    let right =
        || both.iter().filter_map(|one| if let Either::Right(b) = one { Some(b) } else { None });
    let (has_left, has_right) = (left().next().is_some(), right().next().is_some());
    for a in left() {
        match has_right {
            true => right().for_each(|b| pair(Some(a), Some(b))),
            false => pair(Some(a), None),
        }
    }
    if !has_left {
        right().for_each(|b| pair(None, Some(b)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_meets_everything_of_the_other_side_or_nobody() {
        let told = |both: &[Either<u32, char>]| {
            let mut told = Vec::new();
            pairs(both, |a, b| told.push((a.copied(), b.copied())));
            told
        };
        let (l, r) = (Either::Left::<u32, char>, Either::Right::<u32, char>);
        let both = told(&[l(1), r('a'), l(2), r('b')]);
        let of = |a, b| (Some(a), Some(b));
        assert_eq!(both, [of(1, 'a'), of(1, 'b'), of(2, 'a'), of(2, 'b')]);
        assert_eq!(told(&[l(1), l(2)]), [(Some(1), None), (Some(2), None)]);
        assert_eq!(told(&[r('a')]), [(None, Some('a'))]);
        assert_eq!(told(&[]), []);
    }
}
