"""SkeletonName for ftk."""
