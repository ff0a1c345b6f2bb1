/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/fattr.h>
#include <fattr/npz.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    fa_npz *npz;
    return fa_npz_load_file("/nowhere.npz", &npz) != FA_ERR_IO || !strstr(fa_error_message(), "/nowhere.npz") || puts(fa_version_string()) < 0;
}
