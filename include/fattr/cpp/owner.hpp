/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CPP_OWNER_HPP
#define FATTR_CPP_OWNER_HPP

#include <fattr/cpp/array.hpp>
#include <fattr/loss.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <utility>

#if defined(__cpp_exceptions)
#define FATTR_EXCEPTIONS 1
#else
#define FATTR_EXCEPTIONS 0
#endif

namespace fattr {

#if FATTR_EXCEPTIONS
/** A call failed: what() names the node, field, array or file offset. */
class error : public std::runtime_error {
public:
    explicit error(fa_status status, const char *message) : std::runtime_error(message), status_(status) {}
    fa_status status() const noexcept { return status_; }
    /** "FA_ERR_SHAPE", ... */
    const char *name() const noexcept { return fa_status_name(status_); }

private:
    fa_status status_;
};

/** Throws unless the status is FA_OK. */
inline void check_status(fa_status status)
{
    if (status != FA_OK) throw error(status, fa_error_message());
}
#endif

/** A value, or the status that says why there is none (as C++23's std::expected). */
template <class T> class [[nodiscard]] expected {
public:
    expected(fa_status status, T value) noexcept : value_(std::move(value)), status_(status) {}

    bool has_value() const noexcept { return status_ == FA_OK; }
    explicit operator bool() const noexcept { return has_value(); }
    fa_status status() const noexcept { return status_; }
    /** What went wrong; valid until the next libfattr call on this thread, so look before that. */
    const char *message() const noexcept { return has_value() ? "" : fa_error_message(); }
    /** Without a value: an empty owner or a zeroed struct. */
    T &operator*() & noexcept { return value_; }
    const T &operator*() const & noexcept { return value_; }
    T &&operator*() && noexcept { return std::move(value_); }
    T *operator->() noexcept { return &value_; }
    const T *operator->() const noexcept { return &value_; }
#if FATTR_EXCEPTIONS
    /** The value, or throws fattr::error; call before the next libfattr call on this thread, which has other words. */
    T value() && { return check_status(status_), std::move(value_); }
    T &value() & { return check_status(status_), value_; }
#endif

private:
    T value_;
    fa_status status_;
};

/** A C options struct that begins with its defaults. */
template <class T, void (*Init)(T *, std::size_t)> struct options : T {
    options() noexcept { Init(this, sizeof(T)); }
};

namespace detail {

/** Move-only owner of one C object; Self is the class that derives from it. */
template <class Self, class T, void (*Release)(T *)> class unique {
public:
    unique() noexcept = default;
    /** Takes over a reference that the caller holds. */
    explicit unique(T *owned) noexcept : pointer_(owned) {}
    unique(unique &&other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    unique &operator=(unique &&other) noexcept
    {
        if (this != &other) reset(std::exchange(other.pointer_, nullptr));
        return *this;
    }
    unique(const unique &) = delete;
    unique &operator=(const unique &) = delete;
    ~unique() { Release(pointer_); }

    /** For the C interface; still owned here. */
    T *get() const noexcept { return pointer_; }
    explicit operator bool() const noexcept { return pointer_ != nullptr; }
    void reset(T *owned = nullptr) noexcept { Release(std::exchange(pointer_, owned)); }
    /** Gives the reference to the caller. */
    [[nodiscard]] T *release() noexcept { return std::exchange(pointer_, nullptr); }

protected:
    template <auto Create, class... A> static expected<Self> make(A... arguments) noexcept
    {
        T *out = nullptr;
        fa_status status = Create(arguments..., &out);
        return {status, Self(out)};
    }
    template <class Info, auto Get> expected<Info> sized() const noexcept
    {
        Info info{};
        info.struct_size = sizeof info;
        fa_status status = Get(pointer_, &info);
        return {status, info};
    }
    template <class Info, auto Get, class I> expected<Info> indexed(I index) const noexcept
    {
        Info info{};
        fa_status status = Get(pointer_, index, &info);
        return {status, info};
    }

private:
    T *pointer_ = nullptr;
};

/** The same for what is reference-counted. */
template <class Self, class T, auto Retain, void (*Release)(T *)> class shared : public unique<Self, T, Release> {
public:
    using unique<Self, T, Release>::unique;
    /** Another owner of the same object. */
    Self share() const noexcept { return Self(this->get() ? Retain(this->get()) : nullptr); }
};

/** Calls a C++ callable through fa_progress. What it throws waits in `thrown`: no exception passes through C. */
template <class F> struct progress_call {
    F &f;
    std::exception_ptr thrown;

    template <class Options> const Options &into(Options &o) noexcept
    {
        o.progress = [](void *user, const char *stage, std::int64_t done, std::int64_t total) noexcept -> std::int32_t {
            return static_cast<progress_call *>(user)->run(stage, done, total);
        };
        o.progress_user = this;
        return o;
    }

private:
    std::int32_t call(const char *stage, std::int64_t done, std::int64_t total)
    {
        if constexpr (std::is_void_v<decltype(f(stage, done, total))>)
            return f(stage, done, total), 0;
        else
            return f(stage, done, total) ? 1 : 0;
    }
    std::int32_t run(const char *stage, std::int64_t done, std::int64_t total) noexcept
    {
#if FATTR_EXCEPTIONS
        try {
            return call(stage, done, total);
        } catch (...) {
            thrown = std::current_exception();
            return 1;
        }
#else
        return call(stage, done, total);
#endif
    }
};

} // namespace detail

/** A callable f(const fa_output_batch &, span<float> gradient) behind fa_output_gradient (FA_LOSS_HOST); it may throw, which ends as FA_ERR_CANCELLED with the exception's words.
 *  Called from several threads while a sketch is built. Stays where it is, and lives as long as the call or the scorer it is given to. */
template <class F> class output_gradient {
public:
    explicit output_gradient(F f) : f_(std::move(f)) {}
    output_gradient(const output_gradient &) = delete;
    output_gradient &operator=(const output_gradient &) = delete;

    /** Sketch or scorer options that use it. */
    template <class Options> Options with(Options o) noexcept
    {
        o.output_gradient = [](void *user, const fa_output_batch *batch, float *gradient) noexcept -> fa_status {
            return static_cast<output_gradient *>(user)->run(*batch, span<float>(gradient, static_cast<std::size_t>(batch->n * batch->length)));
        };
        o.output_gradient_user = this;
        return o;
    }

private:
    fa_status run(const fa_output_batch &batch, span<float> gradient) noexcept
    {
#if FATTR_EXCEPTIONS
        try {
            f_(batch, gradient);
        } catch (const std::exception &e) {
            return fa_error_set(FA_ERR_CANCELLED, e.what());
        } catch (...) {
            return fa_error_set(FA_ERR_CANCELLED, "it threw something that is no std::exception");
        }
#else
        f_(batch, gradient);
#endif
        return FA_OK;
    }
    F f_;
};

} // namespace fattr

#endif
