//! Multiplies points of P-256 (FIPS 186-5), so that tests can use the private keys of RFC 8291, which ring does not take.
//!
//! Slow, and not in constant time: for tests only.

use std::cmp::Ordering;

/// A number below 2^256, with the lowest word first.
type Number = [u64; 4];

/// An affine point, with coordinates in Montgomery form; `None` is the point at infinity.
type Point = Option<(Number, Number)>;

/// The prime of the field: 2^256 - 2^224 + 2^192 + 2^96 - 1.
const P: Number = [
    0xffff_ffff_ffff_ffff,
    0x0000_0000_ffff_ffff,
    0x0000_0000_0000_0000,
    0xffff_ffff_0000_0001,
];

/// Returns the x-coordinate of the product: the shared secret of ECDH (RFC 8291, section 3.1).
pub(super) fn shared_secret(private: &[u8], public: &[u8]) -> [u8; 32] {
    assert_eq!((private.len(), public.len(), public[0]), (32, 65, 4));
    let x = into_field(number(&public[1..33]));
    let y = into_field(number(&public[33..]));
    let mut product: Point = None;
    for bit in private
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        product = add(product, product);
        if bit == 1 {
            product = add(product, Some((x, y)));
        }
    }
    let (x, _) = product.unwrap();
    let plain = times(x, [1, 0, 0, 0]);
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(plain.iter().rev()) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn add(one: Point, other: Point) -> Point {
    let (Some((x1, y1)), Some((x2, y2))) = (one, other) else {
        return one.or(other);
    };
    let slope = match (x1 == x2, y1 == y2) {
        (false, _) => times(minus(y2, y1), inverse(minus(x2, x1))),
        // The curve is y^2 = x^3 - 3x + b.
        (true, true) if y1 != [0; 4] => {
            let square = minus(times(x1, x1), into_field([1, 0, 0, 0]));
            times(plus(plus(square, square), square), inverse(plus(y1, y1)))
        }
        (true, _) => return None,
    };
    let x = minus(minus(times(slope, slope), x1), x2);
    Some((x, minus(times(slope, minus(x1, x)), y1)))
}

fn number(bytes: &[u8]) -> Number {
    let mut words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|word| u64::from_be_bytes(word.try_into().unwrap()))
        .collect();
    words.reverse();
    words.try_into().unwrap()
}

/// Converts into Montgomery form, by doubling 256 times.
fn into_field(number: Number) -> Number {
    (0..256).fold(number, |number, _| plus(number, number))
}

/// The power with the exponent p - 2 (Fermat).
fn inverse(of: Number) -> Number {
    let exponent = [P[0] - 2, P[1], P[2], P[3]];
    let bits = (0..256).rev().map(|at| exponent[at / 64] >> (at % 64) & 1);
    bits.fold(into_field([1, 0, 0, 0]), |power, bit| {
        let square = times(power, power);
        match bit {
            1 => times(square, of),
            _ => square,
        }
    })
}

fn plus(one: Number, other: Number) -> Number {
    let (mut sum, mut carry) = ([0; 4], false);
    for at in 0..4 {
        let wide = u128::from(one[at]) + u128::from(other[at]) + u128::from(carry);
        sum[at] = wide as u64;
        carry = wide >> 64 != 0;
    }
    reduced(sum, carry)
}

fn minus(one: Number, other: Number) -> Number {
    match compare(one, other) {
        Ordering::Less => difference(P, difference(other, one)),
        Ordering::Equal | Ordering::Greater => difference(one, other),
    }
}

fn compare(one: Number, other: Number) -> Ordering {
    one.iter().rev().cmp(other.iter().rev())
}

fn difference(one: Number, other: Number) -> Number {
    let (mut out, mut borrow) = ([0; 4], false);
    for at in 0..4 {
        let (step, first) = one[at].overflowing_sub(other[at]);
        let (step, second) = step.overflowing_sub(u64::from(borrow));
        (out[at], borrow) = (step, first || second);
    }
    out
}

fn reduced(number: Number, carry: bool) -> Number {
    match carry || compare(number, P) != Ordering::Less {
        true => difference(number, P),
        false => number,
    }
}

/// The Montgomery product. The lowest word of p is -1, so each step adds as many p as the lowest word says.
fn times(one: Number, other: Number) -> Number {
    let mut sum = [0u64; 5];
    let mut high = 0u64;
    for factor in other {
        high = add_product(&mut sum, one, factor, high);
        let lowest = sum[0];
        high = add_product(&mut sum, P, lowest, high);
        sum = [sum[1], sum[2], sum[3], sum[4], high];
        high = 0;
    }
    reduced([sum[0], sum[1], sum[2], sum[3]], sum[4] != 0)
}

fn add_product(sum: &mut [u64; 5], number: Number, factor: u64, high: u64) -> u64 {
    let mut carry = 0u128;
    for at in 0..4 {
        let wide = u128::from(sum[at]) + u128::from(number[at]) * u128::from(factor) + carry;
        sum[at] = wide as u64;
        carry = wide >> 64;
    }
    let wide = u128::from(sum[4]) + carry;
    sum[4] = wide as u64;
    high + (wide >> 64) as u64
}
