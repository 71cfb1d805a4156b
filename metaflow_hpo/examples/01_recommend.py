"""Recommend hyperparameters for a table, from what ships with the package; nothing is trained."""

from sklearn.datasets import load_wine

import metaflow_hpo as hpo


def main() -> None:
    """Print the three configurations to try first, and why."""
    frame = load_wine(as_frame=True).frame
    recommendations = hpo.recommend(frame, target="target", k=3)
    print(recommendations)  # a table in a notebook
    for task in recommendations.answer["evidence"]["nearest_tasks"][:3]:
        print("alike:", task["task_id"])
    print("try first:", recommendations.configurations[0])


if __name__ == "__main__":
    main()
