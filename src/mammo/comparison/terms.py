"""What metrics, baselines and ways to group images are called on the page."""

from mammo.comparison.baselines import GREY_FEATURES, INTENSITY_HISTOGRAM, MAJORITY_CLASS

WORDS = {
    "kappa": "kappa",
    "kappa_quadratic": "quadratic kappa",
    "bal_acc_adj": "balanced accuracy above chance",
    "auc_macro": "macro AUC",
    "auc_dense": "dense-versus-not AUC",
    "far_error_share": "off by more than one class",
    "mae_classes": "mean error in classes",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "kappa_dense": "kappa",
    "sensitivity_dense": "sensitivity",
    "specificity_dense": "specificity",
    "accuracy_dense": "accuracy",
    "age_band": "age",
    "maker": "maker",
    "view": "view",
    "laterality": "side",
    MAJORITY_CLASS: "the class shares of the training images",
    INTENSITY_HISTOGRAM: "the intensity histogram",
    GREY_FEATURES: "grey and texture features",
}


def in_words(name: str) -> str:
    """Name a metric, a baseline or a way to group images as a reader would."""
    return WORDS.get(name, name)
