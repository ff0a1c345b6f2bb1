/* SPDX-License-Identifier: Apache-2.0 */
#include "report_mechanisms.h"

#include <math.h>

void write_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        default: putc(*text, to);
        }
    }
}

static void write_number(FILE *to, const char *format, double value, const char *class)
{
    fprintf(to, "<td%s%s%s>", *class ? " class=\"" : "", class, *class ? "\"" : "");
    if (isnan(value)) fputs("&#8211;", to);
    else fprintf(to, format, value);
    fputs("</td>", to);
}

/* What a reader who stops here should know. */
static void write_lead(FILE *to, const report *r)
{
    int64_t clean = 0, anomalous = 0;
    double caught = 0, alarms = 0, low = 1, high = 0;
    for (int32_t i = 0; i < r->count; i++) {
        const report_case *c = &r->result[i];
        const detector *d = &c->detector[DETECTOR_CONE];
        clean += c->of_clean.n;
        anomalous += c->of_anomalous.n;
        caught += d->tpr * (double)c->of_anomalous.n;
        alarms += d->fpr * (double)c->of_clean.n;
        low = fmin(low, d->metrics.auroc);
        high = fmax(high, d->metrics.auroc);
    }
    fputs("<p class=\"lead\">", to);
    if (!isnan(caught) && !isnan(alarms)) {
        fprintf(to, "Allowed %g false alarms in 100 clean inputs, libfattr flagged <strong>%.1f&#160;%%</strong> of %lld anomalous inputs and <strong>%.1f&#160;%%</strong> of %lld clean ones", 100 * r->alpha,
                100 * caught / (double)anomalous, (long long)anomalous, 100 * alarms / (double)clean, (long long)clean);
    } else {
        fprintf(to, "libfattr scored %lld anomalous and %lld clean inputs", (long long)anomalous, (long long)clean);
    }
    if (r->count == 1) fprintf(to, "; its score tells them apart with an AUROC of <strong>%.3f</strong>.</p>\n", low);
    else fprintf(to, ", in %d cases whose AUROC runs from <strong>%.3f</strong> to <strong>%.3f</strong>.</p>\n", (int)r->count, low, high);
}

static void write_explanation(FILE *to)
{
    fputs("<section class=\"explain\"><div><h3>The question</h3><p>A network gave an output for an input. Was it produced by the mechanisms that the network uses on inputs "
          "we trust, or by something else: a backdoor trigger, an adversarial change, a kind of input it never learned?</p></div>"
          "<div><h3>The measurement</h3><p>For every input libfattr takes the gradient of the network's own output, compressed: what the output depends on, weight by weight. It then "
          "looks for the mixture of <em>references</em> (trusted inputs) that explains it best.</p></div>"
          "<div><h3>The score</h3><p>What no mixture explains is the score, from 0 to 1. Held-out trusted inputs set the threshold before any anomalous input is seen.</p></div></section>\n",
          to);
}

static void write_summary(FILE *to, const report *r)
{
    fputs("<section><h2>Summary</h2><div class=\"scroll\"><table><caption>AUROC is the chance that an anomalous input scores higher than a clean one: 1 is perfect, 0.5 is guessing. "
          "<em>cone</em> is libfattr's score, <em>class</em> that of arXiv 2604.18970 on the same signatures, the other two are common baselines on the same inputs. The best of a row is bold. "
          "Caught and false alarms are for <em>cone</em> at its calibrated threshold. Times are medians of single calls.</caption>"
          "<thead><tr><th scope=\"col\" rowspan=\"2\">case</th><th colspan=\"4\" scope=\"colgroup\">AUROC</th><th colspan=\"2\" scope=\"colgroup\">at the threshold</th>"
          "<th colspan=\"2\" scope=\"colgroup\">milliseconds</th></tr><tr>",
          to);
    for (int k = 0; k < DETECTORS; k++) fprintf(to, "<th scope=\"col\"><i class=\"dot d%d\"></i>%s</th>", k, detector_name[k]);
    fputs("<th scope=\"col\">caught</th><th scope=\"col\">false alarms</th><th scope=\"col\">forward</th><th scope=\"col\">score</th></tr></thead><tbody>\n", to);
    for (int32_t i = 0; i < r->count; i++) {
        const report_case *c = &r->result[i];
        double best = 0;
        for (int k = 0; k < DETECTORS; k++) {
            if (c->detector[k].clean) best = fmax(best, c->detector[k].metrics.auroc);
        }
        fprintf(to, "<tr><th scope=\"row\"><a href=\"#case%d\">", (int)i + 1);
        write_text(to, c->spec->name);
        fputs("</a></th>", to);
        for (int k = 0; k < DETECTORS; k++) {
            double auroc = c->detector[k].clean ? c->detector[k].metrics.auroc : NAN;
            write_number(to, "%.3f", auroc, auroc > best - 0.0005 ? "best" : auroc < 0.7 ? "poor" : "");
        }
        const detector *d = &c->detector[DETECTOR_CONE];
        write_number(to, "%.1f&#160;%%", 100 * d->tpr, "");
        write_number(to, "%.1f&#160;%%", 100 * d->fpr, "");
        write_number(to, "%.3f", c->forward_ms, "");
        write_number(to, "%.3f", c->score_ms, "");
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div></section>\n", to);
}

static void write_figures(FILE *to, const report *r, const report_case *c)
{
    fprintf(to, "<div class=\"scroll\"><table><caption>DER is the defence effectiveness rate, (ASR &#183; caught &#8722; accuracy &#183; false alarms + 1) / 2, with ASR 1 and an accuracy of %.3f: at the "
                "threshold that turns out best, and at the one calibrated beforehand for %g false alarms in 100.</caption><thead><tr><th scope=\"col\">detector</th><th scope=\"col\">AUROC</th>"
                "<th scope=\"col\">AUPR</th><th scope=\"col\">FPR at 95 %% TPR</th><th scope=\"col\">DER, best</th><th scope=\"col\">DER, calibrated</th><th scope=\"col\">caught</th>"
                "<th scope=\"col\">false alarms</th></tr></thead><tbody>\n",
            c->acc, 100 * r->alpha);
    for (int k = 0; k < DETECTORS; k++) {
        const detector *d = &c->detector[k];
        fprintf(to, "<tr><th scope=\"row\"><i class=\"dot d%d\"></i>%s</th>", k, detector_name[k]);
        bool there = d->clean != NULL;
        write_number(to, "%.4f", there ? d->metrics.auroc : NAN, "");
        write_number(to, "%.4f", there ? d->metrics.aupr : NAN, "");
        write_number(to, "%.4f", there ? d->metrics.fpr95 : NAN, "");
        write_number(to, "%.4f", there ? d->metrics.der_best : NAN, "");
        write_number(to, "%.4f", there ? d->der : NAN, "");
        write_number(to, "%.1f&#160;%%", there ? 100 * d->tpr : NAN, "");
        write_number(to, "%.1f&#160;%%", there ? 100 * d->fpr : NAN, "");
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}

static void write_case(FILE *to, const report *r, int32_t i)
{
    const report_case *c = &r->result[i];
    fprintf(to, "<section class=\"case\" id=\"case%d\"><h2>", (int)i + 1);
    write_text(to, c->spec->name);
    fputs("</h2>", to);
    if (c->spec->about) {
        fputs("<p>", to);
        write_text(to, c->spec->about);
        fputs("</p>", to);
    }
    fprintf(to, "<p class=\"facts\">%lld references &#183; %lld clean and %lld anomalous inputs &#183; ", (long long)c->sketch.reference_count, (long long)c->of_clean.n, (long long)c->of_anomalous.n);
    if (c->sketch.calibration_count) fprintf(to, "calibrated on %lld held-out inputs", (long long)c->sketch.calibration_count);
    else fputs("no calibration inputs, so no threshold", to);
    fprintf(to, " &#183; signature of %lld numbers from %d layers</p>\n", (long long)c->sketch.signature_length, (int)c->sketch.layer_count);
    fputs("<div class=\"columns charts\"><figure>", to);
    write_histogram(to, c);
    fputs("<figcaption><i class=\"key clean\"></i> clean and <i class=\"key odd\"></i> anomalous inputs by their <em>cone</em> score, each set adding up to 100&#160;%. "
          "The less the two overlap, the better; the dashed line is the calibrated threshold.</figcaption></figure><figure>", to);
    write_roc(to, c);
    fputs("<figcaption>Anomalous inputs caught (upwards) against clean inputs flagged by mistake (to the right) at every threshold. A good detector hugs the upper left corner; "
          "the numbers are the areas under the curves (AUROC).</figcaption></figure></div>\n", to);
    write_figures(to, r, c);
    if (c->penultimate && c->detector[DETECTOR_MAHALANOBIS].clean) {
        fputs("<p class=\"caption\">Mahalanobis features: the ", to);
        fprintf(to, "%lld values of node <code>", (long long)c->penultimate_width);
        write_text(to, c->penultimate);
        fputs("</code>, fitted per class on the references.</p>\n", to);
    }
    write_gallery(to, r, c);
    fputs("</section>\n", to);
}

void write_page(FILE *to, const report *r)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>", to);
    write_text(to, r->title);
    fprintf(to, "</title><style>%s</style></head>\n<body><main><header><p class=\"kicker\">libfattr report</p><h1>", report_style);
    write_text(to, r->title);
    fputs("</h1>", to);
    write_lead(to, r);
    fputs("</header>\n", to);
    write_explanation(to);
    write_summary(to, r);
    if (r->mechanisms) write_mechanisms(to, r, r->mechanisms);
    for (int32_t i = 0; i < r->count; i++) write_case(to, r, i);
    fprintf(to, "<footer><p>Written by <code>fattr report</code>, libfattr %s, %s kernels. One file: no scripts, nothing is loaded from elsewhere.</p></footer></main></body></html>\n",
            fa_version_string(), fa_context_kernels(r->result[0].session.context));
}
