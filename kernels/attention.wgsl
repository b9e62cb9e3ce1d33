// out = softmax(q k^T * scale) v for each head, with the scores never stored; and the logarithm of the sum of exp(score) of each
// query, from which the gradient finds the probabilities again.
//
// A thread owns one query. It reads keys and values in blocks that its workgroup brings into workgroup memory, and keeps a
// running maximum m, the sum of exp(score - m) and the sum of exp(score - m) * value; when the maximum grows, both
// sums are scaled down (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax").
// An item is an element, or a quad of them where heads are multiples of four wide; embedding and head count items.
// Bindings:
//   0 q: (N, queries, embedding), heads side by side along the embedding
//   1 k, 2 v: (N, keys, embedding)
//   3 out: as q
//   4 log_sum: (N, heads, queries)
//   5 params
// Tile: 64 queries x (512 / head width) keys; 4 KiB of workgroup memory. HEAD is the head's width in items, at most 64 elements.
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

@group(0) @binding(0) var<storage, read> q: array<item>;
@group(0) @binding(1) var<storage, read> k: array<item>;
@group(0) @binding(2) var<storage, read> v: array<item>;
@group(0) @binding(3) var<storage, read_write> out: array<item>;
@group(0) @binding(4) var<storage, read_write> log_sum: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

override HEAD: u32 = 64u / ITEM;
const QUERIES: u32 = 64u;
const WIDEST: u32 = 64u / ITEM;
const CAPACITY: u32 = 512u / ITEM;

var<workgroup> key_tile: array<item32, CAPACITY>;
var<workgroup> value_tile: array<item32, CAPACITY>;

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

    var own: array<item32, WIDEST>;
    var sums: array<item32, WIDEST>;
    for (var i = 0u; i < HEAD; i++) {
        own[i] = item32();
        sums[i] = item32();
        if query < params.queries {
            own[i] = load_item(q[at_q + i]) * params.scale;
        }
    }
    // No score is so low; the sums are zero when it is first replaced.
    var top = -1e30;
    var total = 0.0;

    let tile_keys = CAPACITY / HEAD;
    for (var first = 0u; first < params.keys; first += tile_keys) {
        let count = min(tile_keys, params.keys - first);
        for (var t = local; t < count * HEAD; t += QUERIES) {
            let at = at_kv + (first + t / HEAD) * params.embedding + t % HEAD;
            key_tile[t] = load_item(k[at]);
            value_tile[t] = load_item(v[at]);
        }
        workgroupBarrier();
        for (var t = 0u; t < count; t++) {
            var products = item32();
            for (var i = 0u; i < HEAD; i++) {
                products += own[i] * key_tile[t * HEAD + i];
            }
            let score = item_sum(products);
            if score > top {
                // exp of less than -87 is not a normal number.
                let shrink = exp(max(top - score, -87.0));
                top = score;
                total *= shrink;
                for (var i = 0u; i < HEAD; i++) {
                    sums[i] *= shrink;
                }
            }
            let weight = exp(max(score - top, -87.0));
            total += weight;
            for (var i = 0u; i < HEAD; i++) {
                sums[i] += weight * value_tile[t * HEAD + i];
            }
        }
        workgroupBarrier();
    }

    if query < params.queries {
        log_sum[(n * params.heads + head) * params.queries + query] = top + log(total);
        for (var i = 0u; i < HEAD; i++) {
            out[at_q + i] = store_item(sums[i] / total);
        }
    }
}
