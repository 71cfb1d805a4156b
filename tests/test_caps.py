from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from metaflow_hpo.caps import single_threaded_blas
from metaflow_hpo.learners.threads import single_threaded_torch


def count_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_within_and_its_own_number_after():
    with threadpool_limits(2, user_api="blas"):
        with single_threaded_blas(), single_threaded_blas():
            assert count_threads() == {1}
        assert count_threads() == {2}


def test_a_cap_that_somebody_else_has_lifted_is_set_again():
    with threadpool_limits(2, user_api="blas"):
        with single_threaded_blas():
            threadpool_limits(2, user_api="blas")
            with single_threaded_blas():
                assert count_threads() == {1}
        assert count_threads() == {2}


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def count_for_newcomers():
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("first_to_leave", [0, 1])
@pytest.mark.parametrize("entered_by", [(0, 0), (0, 1)])
def test_torch_has_its_own_number_again_whichever_of_two_uses_ends_first(entered_by, first_to_leave):
    threads = [ThreadPoolExecutor(1) for _ in range(2)]
    users = [threads[position] for position in entered_by]
    caps = [ExitStack(), ExitStack()]
    for user, cap in zip(users, caps, strict=True):
        user.submit(cap.enter_context, single_threaded_torch()).result()
        assert (user.submit(torch.get_num_threads).result(), count_for_newcomers()) == (1, 1)

    last = 1 - first_to_leave
    users[first_to_leave].submit(caps[first_to_leave].close).result()
    assert (users[last].submit(torch.get_num_threads).result(), count_for_newcomers()) == (1, 1)
    if users[0] is not users[1]:
        assert users[first_to_leave].submit(torch.get_num_threads).result() == 3

    users[last].submit(caps[last].close).result()
    assert [one.submit(torch.get_num_threads).result() for one in users] == [3, 3]
    assert count_for_newcomers() == 3
    for thread in threads:
        thread.shutdown()
