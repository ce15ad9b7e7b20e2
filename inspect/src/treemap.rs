//! Rectangles whose areas are sizes: a squarified treemap.
//!
//! Source: Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000.

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    /// Its left side.
    pub x: f64,
    /// Its top.
    pub y: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// Parts a rectangle in the proportions of `sizes`, which are sorted, the largest first, and not
/// zero. Returns a rectangle for each.
pub fn treemap(sizes: &[u64], mut free: Rectangle) -> Vec<Rectangle> {
    let total: f64 = sizes.iter().map(|size| area(*size)).sum();
    let scale = free.width * free.height / total.max(1.0);
    let areas: Vec<f64> = sizes.iter().map(|size| area(*size) * scale).collect();
    let mut out = Vec::new();
    let mut start = 0;
    while start < areas.len() {
        let side = free.width.min(free.height);
        let mut end = start + 1;
        while end < areas.len()
            && worst(&areas[start..=end], side) <= worst(&areas[start..end], side)
        {
            end += 1;
        }
        place(&areas[start..end], &mut free, &mut out);
        start = end;
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "areas are drawn")]
fn area(size: u64) -> f64 {
    size as f64
}

/// The worst proportion of sides in a row along `side`.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let thickness = sum / side;
    let proportion = |area: &f64| {
        let length = area / thickness;
        (length / thickness).max(thickness / length)
    };
    row.iter().map(proportion).fold(0.0, f64::max)
}

/// Puts a row along the shorter side, and takes it off what is free.
fn place(row: &[f64], free: &mut Rectangle, out: &mut Vec<Rectangle>) {
    let sum: f64 = row.iter().sum();
    let is_column = free.width >= free.height;
    let thickness = sum / if is_column { free.height } else { free.width };
    let mut along = if is_column { free.y } else { free.x };
    for area in row {
        let length = area / thickness;
        out.push(match is_column {
            true => Rectangle {
                x: free.x,
                y: along,
                width: thickness,
                height: length,
            },
            false => Rectangle {
                x: along,
                y: free.y,
                width: length,
                height: thickness,
            },
        });
        along += length;
    }
    match is_column {
        true => {
            free.x += thickness;
            free.width -= thickness;
        }
        false => {
            free.y += thickness;
            free.height -= thickness;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_sizes_and_nothing_is_outside() {
        let all = Rectangle {
            x: 0.0,
            y: 0.0,
            width: 600.0,
            height: 400.0,
        };
        let sizes: [u32; 7] = [600, 600, 400, 300, 200, 200, 100];
        let parts = treemap(&sizes.map(u64::from), all);
        assert_eq!(parts.len(), sizes.len());
        for (part, size) in parts.iter().zip(sizes) {
            let expected = f64::from(size) * 100.0;
            assert!(
                (part.width * part.height - expected).abs() < 1e-6,
                "{part:?}"
            );
            assert!(part.x >= 0.0 && part.x + part.width <= 600.0 + 1e-6);
            assert!(part.y >= 0.0 && part.y + part.height <= 400.0 + 1e-6);
            assert!(part.width / part.height < 4.0 && part.height / part.width < 4.0);
        }
        assert_eq!(treemap(&[], all), []);
    }
}
