/* Mailboxes between threads: nothing is lost, each sender's order is kept. Meant to run under TSan.
 */
#include "server/net/mailbox.h"

#include <stdlib.h>

#include "server/net/loop.h"
#include "tests/support/check_main.h"

enum { SENDERS = 4, LETTERS = 5000 };

struct letter {
    struct pd_link link;
    int sender;
    int number;
};

struct post {
    struct pd_loop loop;
    struct pd_mailbox mailbox;
    int next[SENDERS];
    int received;
    int expected;
    int settles;
};

struct sender {
    uv_thread_t thread;
    struct post *post;
    int number;
};

static void settle(void *context)
{
    struct post *post = context;
    post->settles++;
}

static void receive(void *context, struct pd_link *list)
{
    struct post *post = context;
    for (struct pd_link *link = list->next; link != list;) {
        struct letter *letter = PD_CONTAINER(link, struct letter, link);
        link = link->next;
        ck_assert_int_eq(letter->number, post->next[letter->sender]);
        post->next[letter->sender]++;
        post->received++;
        free(letter);
    }
    if (post->received == post->expected) {
        pd_mailbox_close(&post->mailbox);
        pd_loop_end(&post->loop);
    }
}

static void send_letters(void *argument)
{
    struct sender *sender = argument;
    for (int i = 0; i < LETTERS;) {
        struct pd_link list;
        pd_link_init(&list);
        /* One, two or three at a time. */
        for (int batch = i % 3; batch >= 0 && i < LETTERS; batch--, i++) {
            struct letter *letter = malloc(sizeof *letter);
            *letter = (struct letter){.sender = sender->number, .number = i};
            pd_link_init(&letter->link);
            pd_list_push(&list, &letter->link);
        }
        pd_mailbox_send(&sender->post->mailbox, &list);
        ck_assert(pd_link_alone(&list));
    }
}

static void open_post(struct post *post, int expected)
{
    *post = (struct post){.expected = expected};
    ck_assert_int_eq(pd_loop_init(&post->loop, settle, post), PARAMD_OK);
    ck_assert_int_eq(pd_mailbox_open(&post->mailbox, &post->loop.uv, receive, post), PARAMD_OK);
}

START_TEST(letters_of_four_threads_arrive_all_and_in_order)
{
    struct post post;
    struct sender senders[SENDERS];
    struct pd_link left;
    open_post(&post, SENDERS * LETTERS);
    ck_assert_int_eq(pd_loop_start(&post.loop, "receiver"), PARAMD_OK);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.post = &post, .number = i};
        ck_assert_int_eq(uv_thread_create(&senders[i].thread, send_letters, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++) {
        (void)uv_thread_join(&senders[i].thread);
    }
    pd_loop_join(&post.loop);
    ck_assert_int_eq(post.received, SENDERS * LETTERS);
    pd_loop_deinit(&post.loop);
    pd_link_init(&left);
    pd_mailbox_deinit(&post.mailbox, &left);
    ck_assert(pd_link_alone(&left));
}
END_TEST

START_TEST(one_letter_wakes_a_receiver_that_waits)
{
    struct post post;
    struct letter *letter = calloc(1, sizeof *letter);
    struct pd_link list;
    open_post(&post, 1);
    pd_link_init(&list);
    pd_link_init(&letter->link);
    pd_list_push(&list, &letter->link);
    ck_assert_int_eq(pd_loop_start(&post.loop, "receiver"), PARAMD_OK);
    pd_mailbox_send(&post.mailbox, &list);
    pd_loop_join(&post.loop);
    ck_assert_int_eq(post.received, 1);
    pd_loop_deinit(&post.loop);
    pd_mailbox_deinit(&post.mailbox, &list);
}
END_TEST

START_TEST(owner_is_called_once_for_a_batch)
{
    struct post post;
    struct pd_link left;
    open_post(&post, LETTERS);
    struct sender sender = {.post = &post};
    send_letters(&sender);
    pd_loop_run(&post.loop);
    ck_assert_int_eq(post.received, LETTERS);
    ck_assert_int_le(post.settles, 3);
    pd_loop_deinit(&post.loop);
    pd_link_init(&left);
    pd_mailbox_deinit(&post.mailbox, &left);
}
END_TEST

START_TEST(what_nobody_received_is_given_back)
{
    struct post post;
    struct pd_link left;
    open_post(&post, LETTERS + 1);
    struct sender sender = {.post = &post};
    send_letters(&sender);
    pd_loop_deinit(&post.loop);
    pd_link_init(&left);
    pd_mailbox_deinit(&post.mailbox, &left);
    int count = post.received;
    for (struct pd_link *link = left.next; link != &left;) {
        struct letter *letter = PD_CONTAINER(link, struct letter, link);
        link = link->next;
        free(letter);
        count++;
    }
    ck_assert_int_eq(count, LETTERS);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *all = tcase_create("letters");
    tcase_add_test(all, letters_of_four_threads_arrive_all_and_in_order);
    tcase_add_test(all, one_letter_wakes_a_receiver_that_waits);
    tcase_add_test(all, owner_is_called_once_for_a_batch);
    tcase_add_test(all, what_nobody_received_is_given_back);
    suite_add_tcase(suite, all);
    return suite;
}
