/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_FATTR_HPP
#define FATTR_FATTR_HPP

/*
 * libfattr for C++17: RAII over the C interface, header-only. What a function means, its ranges and errors stand in the C headers.
 *
 *     auto context = fattr::context::create();                               // throws fattr::error
 *     auto model = fattr::model::load(context, "model.onnx");
 *     auto sketch = fattr::sketch::load(context, "model.fattr");
 *     fattr::scorer scorer(sketch, model);                                   // one per thread
 *     fa_result r = scorer.score(fattr::array_view(pixels, {1, 1, 28, 28}));
 *     for (float c : fattr::couplings(r)) ...
 *
 * Every function that can fail exists twice: `x()` returns its result or throws fattr::error; `try_x()` is noexcept and returns
 * fattr::expected or a status. Built with -fno-exceptions, only the second kind is declared.
 * Owners are move-only; share() takes another reference. An owner that was moved from, or never filled, is refused with FA_ERR_ARGUMENT.
 * Thread safety is in `const`: const members may be called from any number of threads at once, the others from one at a time.
 */

#include <fattr/cpp/array.hpp>
#include <fattr/cpp/owner.hpp>
#include <fattr/fattr.h>

#include <exception>

namespace fattr {

using context_options = options<fa_context_options, fa_context_options_init>;
using model_options = options<fa_model_options, fa_model_options_init>;
using refset_options = options<fa_refset_options, fa_refset_options_init>;
using sketch_options = options<fa_sketch_options, fa_sketch_options_init>;
using scorer_options = options<fa_scorer_options, fa_scorer_options_init>;
using generate_options = options<fa_generate_options, fa_generate_options_init>;
using mechanisms_options = options<fa_mechanisms_options, fa_mechanisms_options_init>;
using monitor_options = options<fa_monitor_options, fa_monitor_options_init>;
/** For `sketch_options::trace`, which makes a trace sketch (fattr/trace.h). */
using trace_options = options<fa_trace_options, fa_trace_options_init>;

/** What every other object hangs on; they hold references of their own, so this one may go first. */
class context : public detail::shared<context, fa_context, fa_context_retain, fa_context_release> {
public:
    using shared::shared;

    static expected<context> try_create(const context_options &o = {}) noexcept { return make<fa_context_create>(&o); }
    std::uint64_t memory_used() const noexcept { return fa_context_memory_used(get()); }
    std::uint64_t memory_peak() const noexcept { return fa_context_memory_peak(get()); }
    const char *kernels() const noexcept { return fa_context_kernels(get()); }
#if FATTR_EXCEPTIONS
    static context create(const context_options &o = {}) { return try_create(o).value(); }
#endif
};

/** An array that the library made. */
class tensor : public detail::unique<tensor, fa_tensor, fa_tensor_release> {
public:
    using unique::unique;

    /** All zero for an empty tensor; valid as long as the tensor. */
    fa_array view() const noexcept
    {
        fa_array a{};
        return fa_tensor_view(get(), &a) == FA_OK ? a : fa_array{};
    }
    span<const std::int64_t> shape() const noexcept
    {
        fa_array a = view();
        return {a.shape, static_cast<std::size_t>(a.ndim)};
    }
    /** The elements; empty when they are not of type T (reals come as float, all else as std::int64_t). */
    template <class T> span<const T> elements() const noexcept
    {
        fa_array a = view();
        std::size_t n = a.dtype == dtype_of<T>();
        for (std::int32_t i = 0; i < a.ndim; i++) n *= static_cast<std::size_t>(a.shape[i]);
        return {n ? static_cast<const T *>(a.data) : nullptr, n};
    }
};

/** What model::generate() wrote. */
struct responses {
    tensor tokens; /**< std::int64_t `[n, length]`: prompt, response, padding */
    tensor mask;   /**< std::uint8_t `[n, length]`, 1 where a token belongs to the response: an input called FA_ARRAY_MASK */
};

/** A network. */
class model : public detail::shared<model, fa_model, fa_model_retain, fa_model_release> {
public:
    using shared::shared;

    static expected<model> try_load(const context &c, const char *path, const model_options &o = {}) noexcept { return make<fa_model_load_file>(c.get(), path, &o); }
    static expected<model> try_load(const context &c, const void *data, std::size_t size, const model_options &o = {}) noexcept
    {
        return make<fa_model_load_memory>(c.get(), data, size, &o);
    }
    expected<fa_model_info> try_info() const noexcept { return sized<fa_model_info, fa_model_get_info>(); }
    expected<fa_value_info> try_input(std::int32_t i) const noexcept { return indexed<fa_value_info, fa_model_get_input>(i); }
    expected<fa_value_info> try_output(std::int32_t i) const noexcept { return indexed<fa_value_info, fa_model_get_output>(i); }
    expected<fa_node_info> try_node(std::int32_t i) const noexcept { return indexed<fa_node_info, fa_model_get_node>(i); }
    expected<fa_layer_info> try_layer(std::int32_t i) const noexcept { return indexed<fa_layer_info, fa_model_get_layer>(i); }
    /** @param name of a node or value; NULL: the logits. */
    expected<tensor> try_run(const inputs &x, const char *name = nullptr) const noexcept
    {
        fa_tensor *out = nullptr;
        fa_status status = fa_model_run(get(), x.data(), x.size(), name, &out);
        return {status, tensor(out)};
    }
    /** A language model's greedy continuation of prompts `[n, t]` (fattr/generate.h). */
    expected<responses> try_generate(const array_view &prompts, const generate_options &o = {}) const noexcept
    {
        fa_tensor *tokens = nullptr, *mask = nullptr;
        const fa_array x = prompts.c();
        fa_status status = fa_model_generate(get(), &x, &o, &tokens, &mask);
        return {status, responses{tensor(tokens), tensor(mask)}};
    }
#if FATTR_EXCEPTIONS
    static model load(const context &c, const char *path, const model_options &o = {}) { return try_load(c, path, o).value(); }
    static model load(const context &c, const void *data, std::size_t size, const model_options &o = {}) { return try_load(c, data, size, o).value(); }
    fa_model_info info() const { return try_info().value(); }
    fa_value_info input(std::int32_t i) const { return try_input(i).value(); }
    fa_value_info output(std::int32_t i) const { return try_output(i).value(); }
    fa_node_info node(std::int32_t i) const { return try_node(i).value(); }
    fa_layer_info layer(std::int32_t i) const { return try_layer(i).value(); }
    tensor run(const inputs &x, const char *name = nullptr) const { return try_run(x, name).value(); }
    responses generate(const array_view &prompts, const generate_options &o = {}) const { return try_generate(prompts, o).value(); }
#endif
};

/** Trusted inputs, copied: references, or held-out ones for calibration. An empty refset stands for "none". */
class refset : public detail::shared<refset, fa_refset, fa_refset_retain, fa_refset_release> {
public:
    using shared::shared;

    static expected<refset> try_create(const context &c, const inputs &x, const refset_options &o = {}) noexcept { return make<fa_refset_create>(c.get(), x.data(), x.size(), &o); }
    /** Labels or ids of another length than the set are refused with FA_ERR_SHAPE; empty ones are none. */
    static expected<refset> try_create(const context &c, const inputs &x, span<const std::int64_t> labels, span<const std::int64_t> ids = {}) noexcept
    {
        std::size_t n = x.rows();
        if ((labels.size() && labels.size() != n) || (ids.size() && ids.size() != n)) return {fa_error_set(FA_ERR_SHAPE, "refset: one label and one id per input"), {}};
        refset_options o;
        o.labels = labels.size() ? labels.data() : nullptr;
        o.ids = ids.size() ? ids.data() : nullptr;
        return try_create(c, x, o);
    }
    std::int64_t size() const noexcept { return fa_refset_count(get()); }
#if FATTR_EXCEPTIONS
    static refset create(const context &c, const inputs &x, const refset_options &o = {}) { return try_create(c, x, o).value(); }
    static refset create(const context &c, const inputs &x, span<const std::int64_t> labels, span<const std::int64_t> ids = {}) { return try_create(c, x, labels, ids).value(); }
#endif
};

/** What the references do in the network, compressed. */
class sketch : public detail::shared<sketch, fa_sketch, fa_sketch_retain, fa_sketch_release> {
public:
    using shared::shared;

    static expected<sketch> try_load(const context &c, const char *path) noexcept { return make<fa_sketch_load_file>(c.get(), path); }
    static expected<sketch> try_load(const context &c, const void *data, std::size_t size) noexcept { return make<fa_sketch_load_memory>(c.get(), data, size); }
    static expected<sketch> try_build(const model &m, const refset &references, const refset &calibration = {}, const sketch_options &o = {}) noexcept
    {
        return make<fa_sketch_build>(m.get(), references.get(), calibration.get(), &o);
    }
    /** @param progress called as progress(stage, done, total) on this thread; a true result cancels, and so does an exception, which ends here. */
    template <class F> static expected<sketch> try_build(const model &m, const refset &references, const refset &calibration, sketch_options o, F &&progress) noexcept
    {
        detail::progress_call<F> call{progress, {}};
        return try_build(m, references, calibration, call.into(o));
    }
    expected<sketch> try_recalibrate(const model &m, const refset &calibration, const sketch_options &o = {}) const noexcept
    {
        return make<fa_sketch_recalibrate>(get(), m.get(), calibration.get(), &o);
    }
    /** Joins trace sketches with different chains. */
    static expected<sketch> try_merge(span<const fa_sketch *const> sketches) noexcept
    {
        return make<fa_sketch_merge>(sketches.data(), static_cast<std::int32_t>(sketches.size() > INT32_MAX ? INT32_MAX : sketches.size()));
    }
    /** Joins sketches with moments over parts of the references; `references` are those parts, in the same order. FA_ERR_SHAPE unless there are as many of both. */
    static expected<sketch> try_merge_shards(const model &m, span<const fa_sketch *const> sketches, span<const fa_refset *const> references, const refset &calibration = {},
                                             const sketch_options &o = {}) noexcept
    {
        if (sketches.size() != references.size() || sketches.size() > INT32_MAX)
            return {fa_error_set(FA_ERR_SHAPE, "merge_shards: not as many sets of references as sketches, or too many"), sketch()};
        return make<fa_sketch_merge_shards>(m.get(), sketches.data(), references.data(), static_cast<std::int32_t>(sketches.size()), calibration.get(), &o);
    }
    expected<fa_trace_info> try_trace_info() const noexcept { return sized<fa_trace_info, fa_sketch_get_trace_info>(); }
    fa_status try_save(const char *path) const noexcept { return fa_sketch_save_file(get(), path); }
    /** FA_OK, or FA_ERR_MISMATCH. */
    fa_status try_check(const model &m) const noexcept { return fa_sketch_check_model(get(), m.get()); }
    expected<fa_sketch_info> try_info() const noexcept { return sized<fa_sketch_info, fa_sketch_get_info>(); }
    expected<fa_sketch_layer_info> try_layer(std::int32_t i) const noexcept { return indexed<fa_sketch_layer_info, fa_sketch_get_layer>(i); }
    expected<fa_reference_info> try_reference(std::int64_t i) const noexcept { return indexed<fa_reference_info, fa_sketch_get_reference>(i); }
    /** @param out `[reference_count]` */
    fa_status try_audit(std::int32_t score, span<double> out) const noexcept { return fill<fa_sketch_audit, &fa_sketch_info::reference_count>(score, out); }
    /** @param out `[calibration_count]` */
    fa_status try_calibration(std::int32_t score, span<double> out) const noexcept { return fill<fa_sketch_get_calibration, &fa_sketch_info::calibration_count>(score, out); }
#if FATTR_EXCEPTIONS
    static sketch load(const context &c, const char *path) { return try_load(c, path).value(); }
    static sketch load(const context &c, const void *data, std::size_t size) { return try_load(c, data, size).value(); }
    static sketch build(const model &m, const refset &references, const refset &calibration = {}, const sketch_options &o = {}) { return try_build(m, references, calibration, o).value(); }
    /** As above; an exception of `progress` cancels and is thrown on from here. */
    template <class F> static sketch build(const model &m, const refset &references, const refset &calibration, sketch_options o, F &&progress)
    {
        detail::progress_call<F> call{progress, {}};
        auto made = try_build(m, references, calibration, call.into(o));
        if (call.thrown) std::rethrow_exception(call.thrown);
        return std::move(made).value();
    }
    sketch recalibrate(const model &m, const refset &calibration, const sketch_options &o = {}) const { return try_recalibrate(m, calibration, o).value(); }
    static sketch merge(span<const fa_sketch *const> sketches) { return try_merge(sketches).value(); }
    static sketch merge_shards(const model &m, span<const fa_sketch *const> sketches, span<const fa_refset *const> references, const refset &calibration = {},
                               const sketch_options &o = {})
    {
        return try_merge_shards(m, sketches, references, calibration, o).value();
    }
    fa_trace_info trace_info() const { return try_trace_info().value(); }
    void save(const char *path) const { check_status(try_save(path)); }
    void check(const model &m) const { check_status(try_check(m)); }
    fa_sketch_info info() const { return try_info().value(); }
    fa_sketch_layer_info layer(std::int32_t i) const { return try_layer(i).value(); }
    fa_reference_info reference(std::int64_t i) const { return try_reference(i).value(); }
    std::vector<double> audit(std::int32_t score = FA_SCORE_CONE) const
    {
        std::vector<double> out(static_cast<std::size_t>(info().reference_count));
        check_status(try_audit(score, out));
        return out;
    }
    std::vector<double> calibration(std::int32_t score = FA_SCORE_CONE) const
    {
        std::vector<double> out(static_cast<std::size_t>(info().calibration_count));
        check_status(try_calibration(score, out));
        return out;
    }
#endif

private:
    template <auto Get, auto Count> fa_status fill(std::int32_t score, span<double> out) const noexcept
    {
        auto i = try_info();
        if (!i) return i.status();
        if (static_cast<std::int64_t>(out.size()) != (*i).*Count) return fa_error_set(FA_ERR_SHAPE, "sketch: the span's size is not the number of scores");
        return Get(get(), score, out.data());
    }
};

/** Scores inputs; one thread's. Holds references to its sketch and model. */
class scorer : public detail::unique<scorer, fa_scorer, fa_scorer_destroy> {
public:
    using unique::unique;

    static expected<scorer> try_create(const sketch &s, const model &m, const scorer_options &o = {}) noexcept { return make<fa_scorer_create>(s.get(), m.get(), &o); }
    /** Scores one input. Neither allocates nor throws; the result's arrays hold until the next call. */
    fa_status try_score(const inputs &x, fa_result &out) noexcept { return fa_score(get(), x.data(), x.size(), &out); }
    /** Scores out.size() inputs, at most scorer_options::max_batch. */
    fa_status try_score(const inputs &x, span<fa_result> out) noexcept
    {
        return fa_score_batch(get(), x.data(), x.size(), out.data(), static_cast<std::int64_t>(out.size()));
    }
    /**
     * Takes one sequence of a language model apart (fa_score_tokens()): as many tokens as its response has, at most tokens.size().
     * @param couplings,weights `[tokens.size(), reference_count]`, or NULL.
     */
    expected<std::size_t> try_score_tokens(const inputs &x, span<fa_token> tokens, float *couplings = nullptr, float *weights = nullptr) noexcept
    {
        std::int64_t count = 0;
        fa_status status = fa_score_tokens(get(), x.data(), x.size(), static_cast<std::int64_t>(tokens.size()), tokens.data(), couplings, weights, &count);
        return {status, static_cast<std::size_t>(count)};
    }
    expected<fa_score_timing> try_timing() const noexcept { return sized<fa_score_timing, fa_scorer_get_timing>(); }
#if FATTR_EXCEPTIONS
    scorer(const sketch &s, const model &m, const scorer_options &o = {}) : scorer(try_create(s, m, o).value()) {}
    fa_result score(const inputs &x)
    {
        fa_result r;
        check_status(try_score(x, r));
        return r;
    }
    void score(const inputs &x, span<fa_result> out) { check_status(try_score(x, out)); }
    std::size_t score_tokens(const inputs &x, span<fa_token> tokens, float *couplings = nullptr, float *weights = nullptr)
    {
        return try_score_tokens(x, tokens, couplings, weights).value();
    }
    fa_score_timing timing() const { return try_timing().value(); }
#endif
};

/** A result's arrays; empty where there are none. They belong to the scorer and hold until its next call. */
inline span<const float> couplings(const fa_result &r) noexcept { return {r.couplings, r.couplings ? static_cast<std::size_t>(r.reference_count) : 0}; }
inline span<const float> weights(const fa_result &r) noexcept { return {r.weights, r.weights ? static_cast<std::size_t>(r.reference_count) : 0}; }
inline span<const float> residual(const fa_result &r) noexcept { return {r.residual, r.residual ? static_cast<std::size_t>(r.signature_length) : 0}; }

/** Groups of flagged inputs by what made their outputs; see fattr/mechanisms.h. Immutable, any thread. */
class mechanisms : public detail::shared<mechanisms, fa_mechanisms, fa_mechanisms_retain, fa_mechanisms_release> {
public:
    using shared::shared;

    static expected<mechanisms> try_create(const sketch &s, const mechanisms_options &o = {}) noexcept { return make<fa_mechanisms_create>(s.get(), &o); }
    static expected<mechanisms> try_load(const sketch &s, const char *path) noexcept { return make<fa_mechanisms_load_file>(s.get(), path); }
    static expected<mechanisms> try_load(const sketch &s, const void *data, std::size_t size) noexcept { return make<fa_mechanisms_load_memory>(s.get(), data, size); }
    fa_status try_save(const char *path) const noexcept { return fa_mechanisms_save_file(get(), path); }
    /** Groups known. */
    std::int64_t size() const noexcept { return fa_mechanisms_count(get()); }
    std::size_t fingerprint_length() const noexcept { return static_cast<std::size_t>(fa_mechanisms_fingerprint_length(get())); }
    expected<fa_mechanism_info> try_info(std::int64_t i) const noexcept { return indexed<fa_mechanism_info, fa_mechanisms_get>(i); }
    /** Of a result with a cone residual. @param out `[fingerprint_length]` */
    fa_status try_fingerprint(const fa_result &r, span<float> out) const noexcept
    {
        if (out.size() != fingerprint_length()) return fa_error_set(FA_ERR_SHAPE, "mechanisms: the span's size is not the fingerprint's length");
        return fa_mechanisms_fingerprint(get(), r.residual, out.data());
    }
    /** The known group that an input is most like, or -1. */
    expected<std::int64_t> try_assign(span<const float> fingerprint, double *likeness = nullptr) const noexcept
    {
        std::int64_t group = -1;
        if (fingerprint.size() != fingerprint_length()) return {fa_error_set(FA_ERR_SHAPE, "mechanisms: the span's size is not the fingerprint's length"), group};
        fa_status status = fa_mechanisms_assign(get(), fingerprint.data(), &group, likeness);
        return {status, group};
    }
    /** What is known after these inputs. @param fingerprints `[n, fingerprint_length]` @param group `[n]` */
    expected<mechanisms> try_group(span<const float> fingerprints, span<std::int64_t> group) const noexcept
    {
        if (fingerprints.size() != group.size() * fingerprint_length()) return {fa_error_set(FA_ERR_SHAPE, "mechanisms: not as many fingerprints as groups to fill in"), mechanisms()};
        return make<fa_mechanisms_group>(get(), fingerprints.data(), static_cast<std::int64_t>(group.size()), group.data());
    }
#if FATTR_EXCEPTIONS
    static mechanisms create(const sketch &s, const mechanisms_options &o = {}) { return try_create(s, o).value(); }
    static mechanisms load(const sketch &s, const char *path) { return try_load(s, path).value(); }
    void save(const char *path) const { check_status(try_save(path)); }
    fa_mechanism_info info(std::int64_t i) const { return try_info(i).value(); }
    void fingerprint(const fa_result &r, span<float> out) const { check_status(try_fingerprint(r, out)); }
    std::int64_t assign(span<const float> fingerprint, double *likeness = nullptr) const { return try_assign(fingerprint, likeness).value(); }
    mechanisms group(span<const float> fingerprints, span<std::int64_t> group) const { return try_group(fingerprints, group).value(); }
#endif
};

/** Has the traffic as a whole left the references? See fattr/monitor.h. One thread's. */
class monitor : public detail::unique<monitor, fa_monitor, fa_monitor_destroy> {
public:
    using unique::unique;

    static expected<monitor> try_create(const context &c, const monitor_options &o = {}) noexcept { return make<fa_monitor_create>(c.get(), &o); }
    static expected<monitor> try_load(const context &c, const char *path) noexcept { return make<fa_monitor_load_file>(c.get(), path); }
    static expected<monitor> try_load(const context &c, const void *data, std::size_t size) noexcept { return make<fa_monitor_load_memory>(c.get(), data, size); }
    fa_status try_save(const char *path) const noexcept { return fa_monitor_save_file(get(), path); }
    fa_status try_update(span<const double> p_values) noexcept { return fa_monitor_update(get(), p_values.data(), static_cast<std::int64_t>(p_values.size())); }
    fa_status try_reset() noexcept { return fa_monitor_reset(get()); }
    expected<fa_monitor_state> try_state() const noexcept { return sized<fa_monitor_state, fa_monitor_get>(); }
#if FATTR_EXCEPTIONS
    static monitor create(const context &c, const monitor_options &o = {}) { return try_create(c, o).value(); }
    static monitor load(const context &c, const char *path) { return try_load(c, path).value(); }
    void save(const char *path) const { check_status(try_save(path)); }
    /** @return whether the alarm was ever raised. */
    bool update(span<const double> p_values) { return check_status(try_update(p_values)), state().alarm_at > 0; }
    void reset() { check_status(try_reset()); }
    fa_monitor_state state() const { return try_state().value(); }
#endif
};

inline expected<fa_detection_metrics> try_detection_metrics(span<const double> clean, span<const double> anomalous, double acc = 1, double asr = 1) noexcept
{
    fa_detection_metrics m{};
    m.struct_size = sizeof m;
    fa_status status = fa_detection_metrics_compute(clean.data(), static_cast<std::int64_t>(clean.size()), anomalous.data(), static_cast<std::int64_t>(anomalous.size()), acc, asr, &m);
    return {status, m};
}
#if FATTR_EXCEPTIONS
inline fa_detection_metrics detection_metrics(span<const double> clean, span<const double> anomalous, double acc = 1, double asr = 1)
{
    return try_detection_metrics(clean, anomalous, acc, asr).value();
}
#endif

} // namespace fattr

#endif
