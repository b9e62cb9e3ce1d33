// out = softmax(q k^T * scale) v for each head, with the scores never stored; and the logarithm of the sum of exp(score) of each
// query, from which the gradient finds the probabilities again.
//
// A thread owns one query. It reads keys and values in blocks that its workgroup brings into workgroup memory, and keeps a
// running maximum m, the sum of exp(score - m) and the sum of exp(score - m) * value; when the maximum grows, both
// sums are scaled down (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax").
// Bindings:
//   0 q: (N, queries, embedding), heads side by side along the embedding
//   1 k, 2 v: (N, keys, embedding)
//   3 out: as q
//   4 log_sum: (N, heads, queries)
//   5 params
// Tile: 64 queries x (128 / HEAD4) keys; 4 KiB of workgroup memory. HEAD4 is the head's width in vec4, rounded up, at most 16.
// Dispatch: N * heads * ceil(queries / 64) groups of 64, queries fastest.

struct Params {
    batch: u32,
    queries: u32,
    keys: u32,
    embedding: u32,
    heads: u32,
    head: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<elem>;
@group(0) @binding(1) var<storage, read> k: array<elem>;
@group(0) @binding(2) var<storage, read> v: array<elem>;
@group(0) @binding(3) var<storage, read_write> out: array<elem>;
@group(0) @binding(4) var<storage, read_write> log_sum: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

override HEAD4: u32 = 16u;
const QUERIES: u32 = 64u;
const CAPACITY: u32 = 128u;

var<workgroup> key_tile: array<vec4<f32>, CAPACITY>;
var<workgroup> value_tile: array<vec4<f32>, CAPACITY>;

@compute @workgroup_size(QUERIES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.queries + QUERIES - 1u) / QUERIES;
    let index = group_index(group, groups);
    if index >= params.batch * params.heads * blocks {
        return;
    }
    let query = index % blocks * QUERIES + local;
    let head = index / blocks % params.heads;
    let n = index / blocks / params.heads;
    let at_q = (n * params.queries + query) * params.embedding + head * params.head;
    let at_kv = n * params.keys * params.embedding + head * params.head;

    var own: array<vec4<f32>, 16>;
    var sums: array<vec4<f32>, 16>;
    for (var i = 0u; i < HEAD4; i++) {
        own[i] = vec4<f32>();
        sums[i] = vec4<f32>();
        if query < params.queries {
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * i + j;
                if c < params.head {
                    own[i][j] = f32(q[at_q + c]) * params.scale;
                }
            }
        }
    }
    // No score is so low; the sums are zero when it is first replaced.
    var top = -1e30;
    var total = 0.0;

    let tile_keys = CAPACITY / HEAD4;
    for (var first = 0u; first < params.keys; first += tile_keys) {
        let count = min(tile_keys, params.keys - first);
        for (var t = local; t < count * HEAD4; t += QUERIES) {
            let at = at_kv + (first + t / HEAD4) * params.embedding;
            var key = vec4<f32>();
            var value = vec4<f32>();
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * (t % HEAD4) + j;
                if c < params.head {
                    key[j] = f32(k[at + c]);
                    value[j] = f32(v[at + c]);
                }
            }
            key_tile[t] = key;
            value_tile[t] = value;
        }
        workgroupBarrier();
        for (var t = 0u; t < count; t++) {
            var score = 0.0;
            for (var i = 0u; i < HEAD4; i++) {
                score += dot(own[i], key_tile[t * HEAD4 + i]);
            }
            if score > top {
                // exp of less than -87 is not a normal number.
                let shrink = exp(max(top - score, -87.0));
                top = score;
                total *= shrink;
                for (var i = 0u; i < HEAD4; i++) {
                    sums[i] *= shrink;
                }
            }
            let weight = exp(max(score - top, -87.0));
            total += weight;
            for (var i = 0u; i < HEAD4; i++) {
                sums[i] += weight * value_tile[t * HEAD4 + i];
            }
        }
        workgroupBarrier();
    }

    if query < params.queries {
        log_sum[(n * params.heads + head) * params.queries + query] = top + log(total);
        for (var i = 0u; i < HEAD4; i++) {
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * i + j;
                if c < params.head {
                    out[at_q + c] = elem(sums[i][j] / total);
                }
            }
        }
    }
}
