// Mean and sum of squared deviations of some values, merged without cancellation (Chan et al. 1983).

struct Moments {
    count: f32,
    mean: f32,
    squares: f32,
}

fn merge(a: Moments, b: Moments) -> Moments {
    if b.count == 0.0 {
        return a;
    }
    let count = a.count + b.count;
    let share = b.count / count;
    let delta = b.mean - a.mean;
    return Moments(count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share);
}
