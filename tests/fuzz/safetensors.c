/* Fuzzes the head of a safetensors file, its length set right: a number that says how many bytes
 * follow it, then the header. What is accepted covers those bytes, and laid out anew, in the same
 * order, has the same places. */
#include <stdlib.h>
#include <string.h>

#include "server/storage/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void lay_out_again(const struct pd_safetensors *read, uint64_t data_bytes)
{
    struct pd_safetensors_tensor *again = calloc(read->count + 1, sizeof *again);
    uint8_t *head = NULL;
    size_t head_bytes;
    uint64_t at = 0;
    PD_FUZZ_CHECK(again != NULL);
    memcpy(again, read->tensors, read->count * sizeof *again);
    PD_FUZZ_CHECK(pd_safetensors_make_head(again, read->count, &head, &head_bytes) == PARAMD_OK);
    for (size_t i = 0; i < read->count; i++) {
        PD_FUZZ_CHECK(read->tensors[i].begin == at && again[i].begin == at);
        PD_FUZZ_CHECK(again[i].end == read->tensors[i].end);
        PD_FUZZ_CHECK(read->tensors[i].rank <= PD_RANK_MAX);
        at = again[i].end;
    }
    PD_FUZZ_CHECK(at == data_bytes);
    free(head);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pd_input input = {data, data + size};
    uint64_t data_bytes = pd_input_number(&input);
    size_t length;
    const uint8_t *header = pd_input_bytes(&input, size, &length);
    size_t bytes = PD_SAFETENSORS_LENGTH_BYTES + length;
    uint64_t file_bytes = bytes + data_bytes;
    uint64_t head_bytes = 0;
    uint8_t *head = malloc(bytes);
    char error[PD_SAFETENSORS_ERROR_BYTES];
    struct pd_safetensors *read = NULL;
    PD_FUZZ_CHECK(head != NULL);
    for (unsigned i = 0; i < PD_SAFETENSORS_LENGTH_BYTES; i++) {
        head[i] = (uint8_t)((uint64_t)length >> (8 * i));
    }
    if (length > 0) {
        memcpy(head + PD_SAFETENSORS_LENGTH_BYTES, header, length);
    }
    PD_FUZZ_CHECK(pd_safetensors_head_bytes(head, file_bytes, &head_bytes, error) == PARAMD_OK);
    PD_FUZZ_CHECK(head_bytes == bytes);
    memset(error, 0x7f, sizeof error);
    enum paramd_status status = pd_safetensors_read_head(head, bytes, file_bytes, &read, error);
    PD_FUZZ_CHECK((status == PARAMD_OK) == (read != NULL));
    PD_FUZZ_CHECK(read != NULL || (memchr(error, 0, sizeof error) != NULL && *error != '\0'));
    if (read != NULL) {
        lay_out_again(read, data_bytes);
    }
    pd_safetensors_destroy(read);
    free(head);
    return 0;
}
