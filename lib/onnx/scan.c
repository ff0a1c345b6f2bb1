/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/scan.h"

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

/* Where the scan is, for messages. */
typedef struct place {
    const uint8_t *data;
    const ProtobufCMessageDescriptor *type;
    const ProtobufCFieldDescriptor *field; /* NULL before the field is known */
    size_t start;                          /* of the field */
} place;

static fa_status fail(const place *p, const char *what)
{
    return fa_fail(FA_ERR_FORMAT, "byte %zu, %s%s%s: %s", p->start, p->type->short_name, p->field ? "." : "", p->field ? p->field->name : "", what);
}

/* protobuf-c reads as many bytes as these: 5 for tags and lengths, 10 for values. */
static bool read_varint(const uint8_t *data, size_t *at, size_t end, int longest, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < longest && *at < end; i++) {
        uint8_t b = data[(*at)++];
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (!(b & 0x80)) {
            *value = v;
            return true;
        }
    }
    return false;
}

static int wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return LENGTH;
    default: return VARINT;
    }
}

static bool is_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = p[i];
        if (c == 0) return false;
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t more = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
        if (!more || n - i <= more) return false;
        uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (p[i + 1] < low || p[i + 1] > high) return false;
        for (size_t k = 2; k <= more; k++)
            if ((p[i + k] & 0xc0) != 0x80) return false;
        i += more + 1;
    }
    return true;
}

static bool is_packed(ProtobufCType type, const uint8_t *data, size_t from, size_t to)
{
    uint64_t value;
    switch (wire_of(type)) {
    case FIXED32: return (to - from) % 4 == 0;
    case FIXED64: return (to - from) % 8 == 0;
    default:
        while (from < to)
            if (!read_varint(data, &from, to, 10, &value)) return false;
        return true;
    }
}

static fa_status scan_message(const uint8_t *data, const ProtobufCMessageDescriptor *type, size_t at, size_t end, int depth);

/* The contents `from` to `to` of a length-delimited field. */
static fa_status scan_contents(const place *p, size_t from, size_t to, int depth, uint64_t *seen)
{
    const ProtobufCFieldDescriptor *field = p->field;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        uint64_t bit = UINT64_C(1) << ((size_t)(field - p->type->fields) % 64);
        if (field->label != PROTOBUF_C_LABEL_REPEATED && *seen & bit) return fail(p, "given twice");
        *seen |= bit;
        if (depth == FA_ONNX_MAX_DEPTH) return fail(p, "messages are nested too deep");
        return scan_message(p->data, field->descriptor, from, to, depth + 1);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING && !is_text(p->data + from, to - from)) return fail(p, "is no UTF-8 text");
    if (wire_of(field->type) != LENGTH && !is_packed(field->type, p->data, from, to)) return fail(p, "a packed list ends inside an element");
    return FA_OK;
}

static fa_status scan_message(const uint8_t *data, const ProtobufCMessageDescriptor *type, size_t at, size_t end, int depth)
{
    uint64_t seen = 0, tag, value;
    while (at < end) {
        place p = {data, type, NULL, at};
        if (!read_varint(data, &at, end, 5, &tag)) return fail(&p, "a field's tag is cut off or too long");
        uint64_t number = tag >> 3;
        int wire = (int)(tag & 7);
        if (number == 0 || number > 0x1fffffff) return fail(&p, "a field's number is out of range");
        p.field = protobuf_c_message_descriptor_get_field(type, (unsigned)number);
        size_t from = at;
        switch (wire) {
        case VARINT:
            if (!read_varint(data, &at, end, 10, &value)) return fail(&p, "a number is cut off or too long");
            break;
        case FIXED64:
        case FIXED32:
            if (end - at < (wire == FIXED64 ? 8 : 4)) return fail(&p, "a number is cut off");
            at += wire == FIXED64 ? 8 : 4;
            break;
        case LENGTH:
            if (!read_varint(data, &at, end, 5, &value)) return fail(&p, "a length is cut off or too long");
            if (value > end - at) return fail(&p, "its length passes the end of what holds it");
            from = at;
            at += (size_t)value;
            break;
        default: return fail(&p, "an encoding that ONNX does not use");
        }
        if (!p.field) continue;
        if (wire == LENGTH && (wire_of(p.field->type) == LENGTH || p.field->label == PROTOBUF_C_LABEL_REPEATED))
            FA_TRY(scan_contents(&p, from, at, depth, &seen));
        else if (wire != wire_of(p.field->type))
            return fail(&p, "its encoding is not that of its type");
    }
    return FA_OK;
}

fa_status fa_onnx_scan(const ProtobufCMessageDescriptor *type, const void *data, size_t size)
{
    if (size > INT_MAX) return fa_fail(FA_ERR_LIMIT, "%zu bytes are more than a protocol buffer can have: larger weights are external data", size);
    return scan_message(data, type, 0, size, 1);
}
