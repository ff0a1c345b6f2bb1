/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CPP_ARRAY_HPP
#define FATTR_CPP_ARRAY_HPP

#include <fattr/array.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <type_traits>
#include <vector>

namespace fattr {

/** A pointer and a size, as C++20's std::span: it owns nothing. Made of arrays, std::vector, std::array, std::span. */
template <class T> class span {
    template <class C> using element = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>;
    template <class C> using fits = std::enable_if_t<std::is_convertible_v<element<C> (*)[], T (*)[]>>;

public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;

    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class = fits<C>> constexpr span(C &c) noexcept : data_(std::data(c)), size_(std::size(c)) {}
    template <class C, class = fits<const C>> constexpr span(const C &c) noexcept : data_(std::data(c)), size_(std::size(c)) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/** FA_FLOAT32, ... of a C++ type. */
template <class T> constexpr std::int32_t dtype_of() noexcept
{
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || (std::is_integral_v<T> && sizeof(T) <= 8), "no FA_ element type");
    if (std::is_same_v<T, float>) return FA_FLOAT32;
    if (std::is_same_v<T, double>) return FA_FLOAT64;
    if (std::is_same_v<T, bool>) return FA_BOOL;
    constexpr std::int32_t number[2][4] = {{FA_UINT8, FA_UINT16, FA_UINT32, FA_UINT64}, {FA_INT8, FA_INT16, FA_INT32, FA_INT64}};
    return number[std::is_signed_v<T>][sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3];
}

/**
 * A C-contiguous array of the caller's with its shape, `[n, ...]` as a model input. Owns the shape alone: the elements must stay until the call is over.
 * Shapes that do not fit (too many dimensions, a span that is no whole number of rows) are refused by the call that takes the array.
 */
class array_view {
public:
    /** @param name the model input this is for; NULL: by position. */
    array_view(const void *data, std::int32_t dtype, span<const std::int64_t> shape, const char *name = nullptr) noexcept
        : c_{data, nullptr, static_cast<std::int32_t>(shape.size() > FA_MAX_DIMS ? FA_MAX_DIMS + 1 : shape.size()), dtype, name}
    {
        for (std::size_t i = 0; i < shape.size() && i < FA_MAX_DIMS; i++) shape_[i] = shape[i];
    }
    template <class T> array_view(const T *data, span<const std::int64_t> shape, const char *name = nullptr) noexcept : array_view(data, dtype_of<T>(), shape, name) {}
    template <class T> array_view(const T *data, std::initializer_list<std::int64_t> shape, const char *name = nullptr) noexcept
        : array_view(data, dtype_of<T>(), span<const std::int64_t>(shape.begin(), shape.size()), name)
    {
    }

    /** `[n, item...]`, n from the number of elements. */
    template <class T> static array_view rows(span<const T> elements, span<const std::int64_t> item, const char *name = nullptr) noexcept
    {
        std::uint64_t each = 1;
        for (std::int64_t d : item) each = d > 0 && each <= elements.size() ? each * static_cast<std::uint64_t>(d) : 0;
        array_view a(elements.data(), dtype_of<T>(), {}, name);
        a.c_.ndim = static_cast<std::int32_t>(item.size() >= FA_MAX_DIMS ? FA_MAX_DIMS + 1 : item.size() + 1);
        a.shape_[0] = each && elements.size() % each == 0 ? static_cast<std::int64_t>(elements.size() / each) : -1;
        for (std::size_t i = 0; i < item.size() && i + 1 < FA_MAX_DIMS; i++) a.shape_[i + 1] = item[i];
        return a;
    }

    /** For the C interface; points into this object. */
    fa_array c() const noexcept
    {
        fa_array a = c_;
        a.shape = shape_;
        return a;
    }

private:
    fa_array c_;
    std::int64_t shape_[FA_MAX_DIMS] = {};
};

/** A call's inputs: one array, or several as fa_array[] (array_view::c()). An argument type only: it points to what it was made of. */
class inputs {
public:
    inputs(const array_view &a) noexcept : one_(a.c()) {}
    inputs(const fa_array &a) noexcept : one_(a) {}
    template <class C, class = std::enable_if_t<std::is_constructible_v<span<const fa_array>, const C &>>> inputs(const C &arrays) noexcept
    {
        span<const fa_array> s(arrays);
        many_ = s.data();
        size_ = s.size() > INT32_MAX ? -1 : static_cast<std::int32_t>(s.size());
    }
    inputs(const inputs &) = delete;
    inputs &operator=(const inputs &) = delete;

    const fa_array *data() const noexcept { return size_ == one ? &one_ : many_; }
    std::int32_t size() const noexcept { return size_ == one ? 1 : size_; }
    /** n of the first array; 0 when it has none. */
    std::size_t rows() const noexcept { return size() > 0 && data()->ndim > 0 && data()->shape && data()->shape[0] > 0 ? static_cast<std::size_t>(data()->shape[0]) : 0; }

private:
    static constexpr std::int32_t one = INT32_MIN;
    fa_array one_{};
    const fa_array *many_ = nullptr;
    std::int32_t size_ = one;
};

} // namespace fattr

#endif
