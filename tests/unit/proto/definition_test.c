/* Definitions: every refusal names what is wrong and where, differences are named, and what was
 * taken comes back from its encoding. */
#include "proto/definition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "tests/support/check_main.h"

/* A good definition in one piece, to be spoilt by a test. */
struct draft {
    Paramd__Definition message;
    Paramd__Group groups[2];
    Paramd__Group *group_pointers[2];
    Paramd__Tensor tensors[2];
    Paramd__Tensor *tensor_pointers[2];
    Paramd__Hyper hyper;
    Paramd__Hyper *hyper_pointers[PD_HYPERS_MAX + 1];
    Paramd__Table table;
    Paramd__Table *table_pointer;
    uint64_t shape[PD_RANK_MAX + 1];
    const char *model;
};

static void draft_init(struct draft *draft)
{
    static char *names[] = {"first", "second"};
    memset(draft, 0, sizeof *draft);
    draft->model = "model";
    paramd__definition__init(&draft->message);
    paramd__hyper__init(&draft->hyper);
    draft->hyper.name = "lr";
    draft->hyper.number = 0.5;
    for (unsigned i = 0; i <= PD_HYPERS_MAX; i++) {
        draft->hyper_pointers[i] = &draft->hyper;
    }
    for (unsigned i = 0; i < PD_RANK_MAX; i++) {
        draft->shape[i] = 3;
    }
    for (unsigned i = 0; i < 2; i++) {
        paramd__group__init(&draft->groups[i]);
        draft->groups[i].name = names[i];
        draft->groups[i].optimizer = "adam";
        draft->groups[i].hypers = draft->hyper_pointers;
        draft->groups[i].n_hypers = i;
        draft->group_pointers[i] = &draft->groups[i];
        paramd__tensor__init(&draft->tensors[i]);
        draft->tensors[i].name = names[i];
        draft->tensors[i].shape = draft->shape;
        draft->tensors[i].n_shape = i == 0 ? PD_RANK_MAX : 1;
        draft->tensors[i].group = i;
        draft->tensor_pointers[i] = &draft->tensors[i];
    }
    draft->message.groups = draft->group_pointers;
    draft->message.n_groups = 2;
    draft->message.tensors = draft->tensor_pointers;
    draft->message.n_tensors = 2;
    draft->message.block_elements = 1024;
    draft->message.ack_level = PARAMD__ACK_LEVEL__LOGGED;
    paramd__table__init(&draft->table);
    draft->table.name = "rows";
    draft->table_pointer = &draft->table;
    draft->message.tables = &draft->table_pointer;
}

static struct pd_definition *create(const struct draft *draft)
{
    struct pd_definition *definition = NULL;
    char error[PD_ERROR_TEXT_BYTES] = "";
    enum paramd_status status =
        pd_definition_create(draft->model, &draft->message, &definition, error);
    ck_assert_msg(status == PARAMD_OK, "%s: %s", paramd_status_name(status), error);
    return definition;
}

/* ---- what is taken ---- */

START_TEST(places_and_counts_are_worked_out)
{
    struct draft draft;
    draft_init(&draft);
    struct pd_definition *definition = create(&draft);
    ck_assert_uint_eq(definition->tensors[0].elements, 6561);
    ck_assert_uint_eq(definition->tensors[0].blocks, 7);
    ck_assert_uint_eq(definition->tensors[0].first_block, 0);
    ck_assert_uint_eq(definition->tensors[1].elements, 3);
    ck_assert_uint_eq(definition->tensors[1].blocks, 1);
    ck_assert_uint_eq(definition->tensors[1].first_block, 7);
    ck_assert_uint_eq(definition->block_count, 8);
    ck_assert_uint_eq(definition->element_count, 6564);
    pd_definition_destroy(definition);
    draft.message.block_elements = 0;
    definition = create(&draft);
    ck_assert_uint_eq(definition->block_elements, PD_BLOCK_ELEMENTS_DEFAULT);
    pd_definition_destroy(definition);
    pd_definition_destroy(NULL);
}
END_TEST

START_TEST(a_definition_comes_back_from_its_encoding)
{
    struct draft draft;
    char difference[PD_ERROR_TEXT_BYTES];
    uint8_t *bytes;
    size_t count;
    struct pd_arena arena;
    draft_init(&draft);
    draft.tensors[1].init = PARAMD__INITIALISER__UNIFORM;
    draft.tensors[1].a = -0.25;
    draft.tensors[1].b = 0.25;
    draft.tensors[1].seed = UINT64_MAX;
    draft.tensors[0].a = -0.0; /* which protobuf-c leaves out */
    struct pd_definition *definition = create(&draft);
    ck_assert_int_eq(pd_definition_encode(definition, &bytes, &count), PARAMD_OK);
    pd_arena_init(&arena, 1 << 20);
    struct draft again = draft;
    again.message =
        *(Paramd__Definition *)pd_decode(&paramd__definition__descriptor, &arena, bytes, count);
    struct pd_definition *decoded = create(&again);
    ck_assert(pd_definition_same(definition, decoded, difference));
    ck_assert_uint_eq(decoded->groups[1].hyper_count, 1);
    ck_assert_str_eq(decoded->groups[1].hypers[0].name, "lr");
    ck_assert_double_eq(decoded->groups[1].hypers[0].number, 0.5);
    ck_assert_uint_eq(decoded->first_slot, definition->first_slot);
    pd_definition_destroy(decoded);
    pd_definition_destroy(definition);
    pd_arena_deinit(&arena);
    free(bytes);
}
END_TEST

/* ---- what is not ---- */

/* Spoils a draft in the way of the row. */
typedef void spoiler(struct draft *draft);

static void no_name(struct draft *d)
{
    d->model = "";
}
static void odd_name(struct draft *d)
{
    d->model = "a model";
}
static void no_tensors(struct draft *d)
{
    d->message.n_tensors = 0;
}
static void many_tensors(struct draft *d)
{
    d->message.n_tensors = PD_TENSORS_MAX + 1;
}
static void no_groups(struct draft *d)
{
    d->message.n_groups = 0;
}
static void many_groups(struct draft *d)
{
    d->message.n_groups = PD_GROUPS_MAX + 1;
}
static void odd_blocks(struct draft *d)
{
    d->message.block_elements = 3000;
}
static void small_blocks(struct draft *d)
{
    d->message.block_elements = 512;
}
static void large_blocks(struct draft *d)
{
    d->message.block_elements = 524288;
}
static void replicated(struct draft *d)
{
    d->message.ack_level = PARAMD__ACK_LEVEL__REPLICATED;
}
static void odd_level(struct draft *d)
{
    d->message.ack_level = (Paramd__AckLevel)9;
}
static void tables(struct draft *d)
{
    d->message.n_tables = 1;
}
static void gate(struct draft *d)
{
    d->message.gate = "ssp";
}
static void merge(struct draft *d)
{
    d->groups[1].merge = "mean";
}
static void odd_group(struct draft *d)
{
    d->groups[1].name = "g!";
}
static void same_groups(struct draft *d)
{
    d->groups[1].name = "first";
}
static void many_hypers(struct draft *d)
{
    d->groups[1].n_hypers = PD_HYPERS_MAX + 1;
}
static void odd_tensor(struct draft *d)
{
    d->tensors[1].name = "t t";
}
static void same_tensors(struct draft *d)
{
    d->tensors[1].name = "first";
}
static void far_group(struct draft *d)
{
    d->tensors[1].group = 2;
}
static void no_rank(struct draft *d)
{
    d->tensors[1].n_shape = 0;
}
static void large_rank(struct draft *d)
{
    d->tensors[0].n_shape = PD_RANK_MAX + 1;
}
static void empty_shape(struct draft *d)
{
    d->shape[0] = 0;
}
static void large_shape(struct draft *d)
{
    d->shape[0] = (UINT64_C(1) << 40) + 1;
}
static void overflow(struct draft *d)
{
    d->shape[1] = UINT64_MAX / 2;
}
static void odd_init(struct draft *d)
{
    d->tensors[1].init = (Paramd__Initialiser)5;
}
static void nan_init(struct draft *d)
{
    d->tensors[1].a = NAN;
}
static void huge_init(struct draft *d)
{
    d->tensors[1].b = 1e31;
}

static void negative_deviation(struct draft *d)
{
    d->tensors[1].init = PARAMD__INITIALISER__NORMAL;
    d->tensors[1].b = -1;
}

static void empty_range(struct draft *d)
{
    d->tensors[1].init = PARAMD__INITIALISER__UNIFORM;
    d->tensors[1].a = 1;
}

static const struct refusal {
    spoiler *spoil;
    enum paramd_status status;
    const char *named; /* in the text */
} refusals[] = {
    {no_name, PARAMD_INVALID, "name"},
    {odd_name, PARAMD_INVALID, "a model"},
    {no_tensors, PARAMD_INVALID, "0 tensors"},
    {many_tensors, PARAMD_INVALID, "65537 tensors"},
    {no_groups, PARAMD_INVALID, "0 groups"},
    {many_groups, PARAMD_INVALID, "65 groups"},
    {odd_blocks, PARAMD_INVALID, "3000"},
    {small_blocks, PARAMD_INVALID, "512"},
    {large_blocks, PARAMD_INVALID, "524288"},
    {replicated, PARAMD_UNSUPPORTED, "replicated"},
    {odd_level, PARAMD_UNSUPPORTED, "ack level"},
    {tables, PARAMD_UNSUPPORTED, "rows"},
    {gate, PARAMD_UNSUPPORTED, "ssp"},
    {merge, PARAMD_UNSUPPORTED, "mean"},
    {odd_group, PARAMD_INVALID, "g!"},
    {same_groups, PARAMD_INVALID, "first"},
    {many_hypers, PARAMD_INVALID, "65 hyper-parameters"},
    {odd_tensor, PARAMD_INVALID, "t t"},
    {same_tensors, PARAMD_INVALID, "first"},
    {far_group, PARAMD_INVALID, "second is in group number 2"},
    {no_rank, PARAMD_INVALID, "rank 0"},
    {large_rank, PARAMD_INVALID, "rank 9"},
    {empty_shape, PARAMD_INVALID, "first"},
    {large_shape, PARAMD_INVALID, "first"},
    {overflow, PARAMD_INVALID, "2^40"},
    {odd_init, PARAMD_UNSUPPORTED, "initialiser 5"},
    {nan_init, PARAMD_INVALID, "nan"},
    {huge_init, PARAMD_INVALID, "1e+31"},
    {negative_deviation, PARAMD_INVALID, "b=-1"},
    {empty_range, PARAMD_INVALID, "a=1"},
};

START_TEST(a_refusal_names_what_is_wrong)
{
    const struct refusal *row = &refusals[_i];
    struct draft draft;
    struct pd_definition *definition = NULL;
    char error[PD_ERROR_TEXT_BYTES] = "";
    draft_init(&draft);
    row->spoil(&draft);
    ck_assert_int_eq(pd_definition_create(draft.model, &draft.message, &definition, error),
                     row->status);
    ck_assert_msg(strstr(error, row->named) != NULL, "\"%s\" is not named in \"%s\"", row->named,
                  error);
    ck_assert_ptr_null(definition);
}
END_TEST

/* ---- differences ---- */

static void other_level(struct draft *d)
{
    d->message.ack_level = PARAMD__ACK_LEVEL__APPLIED;
}
static void other_blocks(struct draft *d)
{
    d->message.block_elements = 2048;
}
static void fewer_tensors(struct draft *d)
{
    d->message.n_tensors = 1;
}
static void other_group_name(struct draft *d)
{
    d->groups[1].name = "another";
}
static void other_optimizer(struct draft *d)
{
    d->groups[1].optimizer = "sgd";
}
static void other_tensor_name(struct draft *d)
{
    d->tensors[1].name = "another";
}
static void other_shape(struct draft *d)
{
    d->shape[0] = 4;
}
static void other_rank(struct draft *d)
{
    d->tensors[0].n_shape = 7;
}
static void other_group(struct draft *d)
{
    d->tensors[1].group = 0;
}
static void other_init(struct draft *d)
{
    d->tensors[1].init = PARAMD__INITIALISER__ZEROS;
}
static void other_seed(struct draft *d)
{
    d->tensors[1].seed = 1;
}

static const struct refusal differences[] = {
    {other_level, PARAMD_MISMATCH, "level is applied"},
    {other_blocks, PARAMD_MISMATCH, "block_elements"},
    {fewer_tensors, PARAMD_MISMATCH, "1 tensors"},
    {other_group_name, PARAMD_MISMATCH, "another"},
    {other_optimizer, PARAMD_MISMATCH, "sgd"},
    {other_tensor_name, PARAMD_MISMATCH, "another"},
    {other_shape, PARAMD_MISMATCH, "shape"},
    {other_rank, PARAMD_MISMATCH, "shape"},
    {other_group, PARAMD_MISMATCH, "second has another group"},
    {other_init, PARAMD_MISMATCH, "second has another initialiser"},
    {other_seed, PARAMD_MISMATCH, "initialiser"},
};

START_TEST(a_difference_is_named)
{
    const struct refusal *row = &differences[_i];
    struct draft draft;
    char difference[PD_ERROR_TEXT_BYTES] = "";
    draft_init(&draft);
    draft.tensors[1].init = PARAMD__INITIALISER__CONSTANT;
    struct pd_definition *first = create(&draft);
    struct pd_definition *same = create(&draft);
    row->spoil(&draft);
    struct pd_definition *other = create(&draft);
    ck_assert(pd_definition_same(first, same, difference));
    ck_assert(!pd_definition_same(first, other, difference));
    ck_assert_msg(strstr(difference, row->named) != NULL, "\"%s\" is not named in \"%s\"",
                  row->named, difference);
    pd_definition_destroy(first);
    pd_definition_destroy(same);
    pd_definition_destroy(other);
}
END_TEST

START_TEST(a_tensor_whose_first_values_a_client_gave_is_the_same_with_any_initialiser)
{
    struct draft draft;
    char difference[PD_ERROR_TEXT_BYTES] = "";
    draft_init(&draft);
    draft.tensors[1].init = PARAMD__INITIALISER__CONSTANT;
    struct pd_definition *made = create(&draft);
    draft.tensors[1].init = PARAMD__INITIALISER__CLIENT;
    struct pd_definition *brought = create(&draft);
    ck_assert(pd_definition_same(brought, made, difference));
    ck_assert(!pd_definition_same(made, brought, difference));
    pd_definition_destroy(made);
    pd_definition_destroy(brought);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("definition");
    TCase *taken = tcase_create("taken");
    tcase_add_test(taken, places_and_counts_are_worked_out);
    tcase_add_test(taken, a_definition_comes_back_from_its_encoding);
    suite_add_tcase(suite, taken);
    TCase *refused = tcase_create("refused");
    tcase_add_loop_test(refused, a_refusal_names_what_is_wrong, 0,
                        sizeof refusals / sizeof refusals[0]);
    tcase_add_test(refused,
                   a_tensor_whose_first_values_a_client_gave_is_the_same_with_any_initialiser);
    tcase_add_loop_test(refused, a_difference_is_named, 0,
                        sizeof differences / sizeof differences[0]);
    suite_add_tcase(suite, refused);
    return suite;
}
